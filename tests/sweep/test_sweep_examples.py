"""What a sweep stores for its report: chosen steps and planned frontiers, and how they are read."""

import shutil

import pytest

import memprop as mp
from memprop.errors import DataError
from memprop.sweep.examples import (
    FRONTIERS,
    STEPS,
    load_examples,
    point_name,
    store_examples,
)
from memprop.sweep.measurement import Measurement
from memprop.sweep.plan import trials
from memprop.sweep.results import frame
from memprop.sweep.spec import load_spec

SPEC = """
name = "examples"
title = "Examples"
[grid]
depth = [2, 5]
batch = [8, 64]
width = 12
mode = ["train", "inference"]
schedule = ["lean", "sqrt"]
"""


def model(depth):
    return mp.MLP([64, *[12] * depth, 10])


@pytest.fixture
def stored(tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    spec = load_spec(tmp_path / "spec.toml")
    rows = []
    for trial in trials(spec):
        trace = mp.simulate(
            model(trial.depth), trial.batch, schedule=trial.schedule, mode=trial.mode
        )
        rows.append(
            {
                **trial.axes(), **Measurement.of_step(trace).columns(), "status": "ok",
                "ledger_peak": trace.peak, "seed": 0,
            }
        )  # fmt: skip
    table = frame(rows)
    store_examples(spec, tmp_path, table)
    return tmp_path, spec, table


def test_the_step_of_every_row_is_found_and_is_the_simulated_one(stored):
    folder, _, table = stored
    examples = load_examples(folder)
    for row in table.to_dict(orient="records"):
        trace = examples.step(row)
        assert trace == mp.simulate(
            model(row["depth"]), row["batch"], schedule=row["schedule"], mode=row["mode"]
        )


def test_the_frontiers_are_those_of_each_depth_at_the_largest_batch(stored):
    examples = load_examples(stored[0])
    assert list(examples.frontiers) == [2, 5]
    for depth, table in examples.frontiers.items():
        assert table.equals(mp.frontier(model(depth), 64))


def test_the_same_sweep_stores_the_same_bytes(stored, tmp_path):
    folder, spec, table = stored
    again = tmp_path / "again"
    again.mkdir()
    store_examples(spec, again, table)
    for name in (STEPS, FRONTIERS):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_a_point_is_told_by_what_it_differs_in(stored):
    _, spec, table = stored
    names = [point_name(trial.axes()) for trial in trials(spec)]
    assert len(set(names)) == len(names)
    assert names == [point_name(row) for row in table.to_dict(orient="records")]


def test_a_folder_without_them_has_none(stored, tmp_path):
    folder, *_ = stored
    for name in (STEPS, FRONTIERS):
        (tmp_path / name).unlink(missing_ok=True)
        (folder / name).unlink(missing_ok=True)
    examples = load_examples(folder)
    assert not examples.stored
    assert examples.step(stored[2].to_dict(orient="records")[0]) is None


@pytest.mark.parametrize("name", [STEPS, FRONTIERS])
def test_a_damaged_file_is_named_with_the_way_out(stored, name):
    folder, *_ = stored
    (folder / name).write_bytes(b"depth,x\nthree,1\n")
    with pytest.raises(DataError, match=r"is damaged: .*run the sweep again"):
        load_examples(folder)


def test_a_report_needs_neither_data_nor_model(stored, tmp_path):
    folder, _, table = stored
    text = f'{SPEC}[data]\nsource = "gone.csv"\n'
    shutil.rmtree(tmp_path / "figures", ignore_errors=True)
    (folder / "spec.toml").write_text(text, encoding="utf-8")
    (folder / "environment.json").write_text("{}", encoding="utf-8")
    table.to_parquet(folder / "results.parquet", index=False)
    from memprop.report.write import write_report

    report = write_report(folder)
    names = {picture.name for picture in report.pictures}
    assert {"timeline", "lifetimes_sqrt", "memory_against_recomputation"} <= names
