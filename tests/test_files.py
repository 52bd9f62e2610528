"""A file is there in full or not at all, whoever writes it, and the error is always the same."""

import ast
import os
import stat
import threading
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from full_disk import no_room

import memprop as mp
from memprop.errors import OutputError
from memprop.files import make_folder, whole_file, write_whole
from memprop.report.step import write_step
from memprop.sweep.results import column_types, write_results

GRAPH = mp.MLP([4, 3, 2]).graph()
TRACE = mp.simulate(mp.MLP([4, 3, 2]), 2)

WRITERS = {
    "bytes": lambda path: write_whole(path, b"new" * 100),
    "text": lambda path: write_whole(path, "new" * 100),
    "trace": TRACE.save,
    "perfetto": TRACE.to_perfetto,
    "parquet": TRACE.to_parquet,
    "picture": lambda path: GRAPH.draw(path.with_suffix(".svg")),
    "picture as text": lambda path: GRAPH.to_dot(path.with_suffix(".dot")),
}
"""What writes one file: the same path with a suffix of its own, where it needs one."""


@contextmanager
def nobody():
    """Root may write everywhere: for a while, be somebody who may not."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_was_there_stays_if_there_is_no_room(writer, tmp_path):
    for suffix in ("", ".svg", ".dot"):
        (tmp_path / f"file{suffix}").write_bytes(b"old")
    before = contents(tmp_path)
    with no_room(64), pytest.raises(OutputError, match=r"cannot write .*file.*: File too large; "):
        WRITERS[writer](tmp_path / "file")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("writer", WRITERS)
def test_a_missing_folder_is_named_with_the_remedy(writer, tmp_path):
    above = str(tmp_path / "nowhere")
    with pytest.raises(OutputError) as caught:
        WRITERS[writer](tmp_path / "nowhere" / "file")
    assert f"cannot write '{above}{os.sep}file" in str(caught.value)
    assert f"No such file or directory; make the folder '{above}' first" in str(caught.value)


def test_a_full_disk_is_told():
    with pytest.raises(OutputError) as caught:
        write_whole("/dev/full", "x" * 100_000)
    expected = "cannot write '/dev/full': No space left on device; make room, or name another place"
    assert str(caught.value) == expected


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(OutputError, match=r"Is a directory; name a file in it"):
        write_whole(tmp_path, b"")


def test_a_folder_that_must_not_be_written_is_told(tmp_path):
    tmp_path.chmod(0o555)
    with nobody(), pytest.raises(OutputError, match=r"Permission denied; name a place that can"):
        write_whole(tmp_path / "file", b"")
    tmp_path.chmod(0o755)
    assert contents(tmp_path) == {}


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder, reason in (("file", "File exists"), ("file/below", "Not a directory")):
        told = f"cannot make the folder '{tmp_path / folder}': {reason}; name a place"
        with pytest.raises(OutputError) as caught:
            make_folder(tmp_path / folder)
        assert str(caught.value).startswith(told)


def test_a_table_is_the_old_one_or_the_new_one(tmp_path):
    table = pd.DataFrame({"depth": range(2000)}).reindex(columns=list(column_types()))
    write_results(table.head(1), tmp_path)
    before = contents(tmp_path)
    with no_room(2000), pytest.raises(OutputError, match=r"results\.csv': File too large"):
        write_results(table, tmp_path)
    assert contents(tmp_path) == before


def test_a_step_that_finds_no_room_leaves_no_half_of_a_file(tmp_path):
    write_step(TRACE, tmp_path / "whole")
    with no_room(5000), pytest.raises(OutputError, match=r"step\.html': File too large"):
        write_step(TRACE, tmp_path / "part")
    whole = contents(tmp_path / "whole")
    part = contents(tmp_path / "part")
    assert part
    assert part.items() < whole.items()


def test_a_block_that_fails_writes_nothing(tmp_path):
    def half_of(file):
        file.write(b"half")
        raise KeyError

    with pytest.raises(KeyError), whole_file(tmp_path / "file") as file:
        half_of(file)
    assert contents(tmp_path) == {}


def test_links_are_followed_and_modes_kept(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_whole(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_name_as_long_as_names_may_be_is_written(tmp_path):
    write_whole(tmp_path / ("n" * 255), b"new")
    assert contents(tmp_path) == {"n" * 255: b"new"}


def test_a_pipe_is_written_into(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=write_whole, args=(tmp_path / "pipe", b"through"))
    writer.start()
    assert (tmp_path / "pipe").read_bytes() == b"through"
    writer.join()


def test_text_that_is_no_unicode_is_written_escaped(tmp_path):
    write_whole(tmp_path / "file", "caf\udce9 \u00e9")
    assert (tmp_path / "file").read_text(encoding="utf-8") == r"caf\udce9 é"


OPENERS = {
    "memprop/engine/disk.py",  # files that are there for a step and for nobody to see
    "memprop/files.py",
    "memprop/probes/kernel.py",  # a switch of the kernel's, under /proc
    "memprop/sweep/forks.py",  # file descriptors that are open already
}


def test_no_other_module_writes_a_file():
    root = Path(mp.__file__).parents[1]
    found = {
        path.relative_to(root).as_posix()
        for package in ("memprop", "pytest_memprop")
        for path in (root / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _writes(node)
    }
    assert found == OPENERS


def _writes(call):
    """Whether a call opens a file to write into it, as far as its text says."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    modes = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
    opened = name == "open" and any(str(mode).rstrip("bt+") in {"w", "x", "a"} for mode in modes)
    return opened or name in {"write_text", "write_bytes"}
