"""The second tier of a step: real files, exact in the ledger, gone when the step is."""

import errno
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from cases import data, model, with_random_biases
from full_disk import no_room

import memprop as mp
from memprop.engine.disk import Disk
from memprop.errors import OutputError

BATCH = 96
ALLOCATORS = ["heap", "arena"]


def network(**options):
    return with_random_biases(model(5, 24, activation="gelu", norm="layer", **options))


def files_in(folder):
    return [path for path in Path(folder).rglob("*") if path.is_file()]


def names_in(folder):
    return [path.name for path in Path(folder).iterdir()]


@contextmanager
def called(monkeypatch, method, before=None, after=None):
    """Inside, more happens before and after a method of the disk, for steps that are made here."""
    original = getattr(Disk, method)

    def wrapped(self, number, array):
        if before is not None:
            before(number, array)
        original(self, number, array)
        if after is not None:
            after(number, array)

    with monkeypatch.context() as patch:
        patch.setattr(Disk, method, wrapped)
        yield


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_the_files_are_the_bytes_that_the_ledger_says(allocator, tmp_path, monkeypatch):
    mlp, x_y = network(), data(network(), BATCH)
    there, written = [0], []

    def look(number, array):
        there.append(sum(path.stat().st_size for path in files_in(tmp_path)))

    def compare(number, array):
        look(number, array)
        (path,) = [path for path in files_in(tmp_path) if path.name == f"{number}.bin"]
        written.append(path.read_bytes() == array.tobytes())

    with called(monkeypatch, "write", after=compare), called(monkeypatch, "read", after=look):
        step = mp.Step(mlp, BATCH, f"offload:{tmp_path}", allocator=allocator)
        step(*x_y)
    on_disk = step.trace.on("disk")
    changes = on_disk.live.total[on_disk.live.moved != 0]
    assert there == [0, *changes.tolist()]
    assert max(there) == on_disk.peak == step.schedule.disk_peak > 0
    assert written
    assert all(written)
    assert on_disk.persistent_bytes == 0
    assert on_disk.live.total[-1] == 0
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_many_steps_and_what_is_left_of_the_data_train_as_lean_does(allocator, tmp_path):
    def trained(schedule):
        mlp = network(dropout=0.2)
        x, y = data(mlp, 2 * BATCH + 17)
        mlp.fit(x, y, batch=BATCH, epochs=2, optimizer="adam", schedule=schedule)
        return mlp.parameters

    ours = trained(f"offload:{tmp_path}")
    for name, array in trained("lean").items():
        np.testing.assert_array_equal(ours[name], array)
    assert names_in(tmp_path) == []


def test_a_missing_folder_is_made_and_a_relative_one_is_where_the_step_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mlp = network()
    mp.trace(mlp, *data(mlp, BATCH), schedule="offload:of mine/c++")
    assert names_in(tmp_path / "of mine") == ["c++"]
    assert names_in(tmp_path / "of mine" / "c++") == []


@pytest.mark.parametrize("allocator", ALLOCATORS)
@pytest.mark.parametrize("method", ["write", "read"])
def test_a_step_that_fails_leaves_no_file_and_can_be_run_again(
    allocator, method, tmp_path, monkeypatch
):
    mlp, x_y = network(), data(network(), BATCH)
    expected, calls = mp.trace(mlp, *x_y).outputs["loss"], []

    def fail(number, array):
        calls.append(number)
        if len(calls) == 2:
            raise MemoryError

    with called(monkeypatch, method, before=fail):
        step = mp.Step(mlp, BATCH, f"offload:{tmp_path}", allocator=allocator)
        with pytest.raises(MemoryError):
            step(*x_y)
    assert names_in(tmp_path) == []
    assert step(*x_y) == expected


def test_steps_that_share_a_folder_do_not_meet(tmp_path, monkeypatch):
    mlp, x_y = network(), data(network(), BATCH)
    name = f"offload:{tmp_path}"
    two = mp.Step(mlp, BATCH, name)
    alone, losses = two(*x_y), []

    def run_the_other(number, array):
        if not losses:
            losses.append(None)
            losses[0] = two(*x_y)

    with called(monkeypatch, "write", after=run_the_other):
        one = mp.Step(mlp, BATCH, name)
        assert one(*x_y) == alone
    assert losses == [alone]
    assert names_in(tmp_path) == []


class _Partly:
    """A file that takes and gives fewer bytes than it is asked to, as large ones do."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, part):
        return self.file.write(part[:1000])

    def readinto(self, part):
        return self.file.readinto(part[:1000])


def test_bytes_that_move_in_parts_all_move(tmp_path, monkeypatch):
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda *a, **k: _Partly(opened(*a, **k)))
    disk, array = Disk(str(tmp_path)), np.arange(3333, dtype="int64").reshape(11, 303)
    disk.begin()
    disk.write(7, array)
    back = np.zeros_like(array)
    disk.read(7, back)
    np.testing.assert_array_equal(back, array)
    disk.end()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 5)])
def test_any_array_comes_back_as_it_was(dtype, shape, tmp_path):
    disk, array = Disk(str(tmp_path)), np.ones(shape, dtype)
    disk.begin()
    disk.write(0, array)
    assert sum(path.stat().st_size for path in files_in(tmp_path)) == array.nbytes
    back = np.zeros(shape, dtype)
    disk.read(0, back)
    np.testing.assert_array_equal(back, array)
    disk.end()


# Errors


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    mlp, folder = network(), str(tmp_path / "file" / "below")
    with pytest.raises(OutputError) as refused:
        mp.trace(mlp, *data(mlp, BATCH), schedule=f"offload:{folder}")
    assert str(refused.value) == (
        f"cannot make the folder {folder!r}: Not a directory; name a place that can be written"
    )


def test_a_folder_that_must_not_be_written_is_named(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    mlp = network()
    monkeypatch.setattr("memprop.engine.disk.tempfile.mkdtemp", refuse)
    with pytest.raises(OutputError) as refused:
        mp.trace(mlp, *data(mlp, BATCH), schedule=f"offload:{tmp_path}")
    assert str(refused.value) == (
        f"cannot store variables in {str(tmp_path)!r}: Permission denied; "
        "name a place that can be written"
    )


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_a_disk_without_room_is_named_with_what_to_do(allocator, tmp_path):
    mlp = network()
    step = mp.Step(mlp, BATCH, f"offload:{tmp_path}", allocator=allocator)
    with no_room(1000), pytest.raises(OutputError, match=r"^cannot store [\d.]+ KiB in") as refused:
        step(*data(mlp, BATCH))
    assert f"in {str(tmp_path)!r}: File too large; raise the limit" in str(refused.value)
    assert names_in(tmp_path) == []
    step(*data(mlp, BATCH))


def test_files_that_somebody_takes_away_or_cuts_off_are_missed(tmp_path, monkeypatch):
    mlp, name = network(), f"offload:{tmp_path}"

    def take(number, array):
        for path in files_in(tmp_path):
            path.unlink()

    def cut(number, array):
        for path in files_in(tmp_path):
            path.write_bytes(b"short")

    with (
        called(monkeypatch, "read", before=take),
        pytest.raises(
            OutputError,
            match=r"cannot read .*: No such file or directory; leave the",
        ),
    ):
        mp.trace(mlp, *data(mlp, BATCH), schedule=name)
    with (
        called(monkeypatch, "read", before=cut),
        pytest.raises(OutputError, match=r"back: \d+ bytes are missing; leave the files"),
    ):
        mp.trace(mlp, *data(mlp, BATCH), schedule=name)
    assert names_in(tmp_path) == []


# What a trace shows


def test_intermediates_say_what_was_on_disk(tmp_path):
    mlp = model(5, 24)
    trace = mp.trace(mlp, *data(mlp, BATCH), schedule=f"offload:{tmp_path}")
    lean = mp.trace(mlp, *data(mlp, BATCH)).intermediates()
    table = trace.intermediates()
    assert table["variable"].tolist() == lean["variable"].tolist()
    assert table["reused_by"].tolist() == lean["reused_by"].tolist()
    away = table[table["offloaded"]]
    assert set(away["variable"]) == {v.name for v in trace.on("disk").variables}
    assert away["bytes"].sum() == trace.on("disk").peak
    assert (table["kept"] != table["offloaded"]).all()
    assert not table["recomputed"].any()
    assert not lean["offloaded"].any()
    assert trace.saved_bytes + trace.on("disk").peak == lean["bytes"].sum()


def test_moving_is_an_operator_of_its_own_in_the_timeline(tmp_path):
    mlp = model(5, 24)
    trace = mp.trace(mlp, *data(mlp, BATCH), schedule=f"offload:{tmp_path}")
    moves = trace.timeline()
    moves = moves[moves["operator"].isin(["store x", "load x"])]
    assert moves[["kind", "operator", "variable", "phase"]].values.tolist() == [
        ["read", "store x", "x", "forward"],
        ["free", "store x", "x", "forward"],
        ["allocate", "load x", "x", "backward"],
    ]
    assert trace.on("disk").timeline()["kind"].tolist().count("allocate") == len(
        trace.on("disk").variables
    )


def test_a_trace_of_two_tiers_is_saved_and_loaded(tmp_path):
    trace = mp.simulate(model(5, 24), BATCH, schedule="offload:scratch")
    trace.save(tmp_path / "step.json.gz")
    loaded = mp.Trace.load(tmp_path / "step.json.gz")
    assert loaded == trace
    assert loaded.devices == ("cpu", "disk")
