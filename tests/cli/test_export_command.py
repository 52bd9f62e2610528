"""``memprop export`` writes what the methods of a trace write."""

import json

import pytest

import memprop as mp
from memprop.cli import run
from memprop.traces.exports.formats import FORMATS


@pytest.fixture
def saved(tmp_path):
    trace = mp.simulate(mp.MLP([64, 32, 10]), 16)
    trace.save(tmp_path / "step.json.gz")
    return tmp_path / "step.json.gz", trace


@pytest.mark.parametrize("name", FORMATS)
def test_a_saved_trace_is_written_as_the_method_writes_it(name, saved, tmp_path, capsys):
    path, trace = saved
    assert run(["export", str(path), "--to", name, "-o", str(tmp_path / "out"), "--json"]) == 0
    getattr(trace, f"to_{name}")(tmp_path / "expected")
    written = (tmp_path / "out").read_bytes()
    assert written == (tmp_path / "expected").read_bytes()
    assert json.loads(capsys.readouterr().out) == {
        "trace": str(path), "format": name, "written": str(tmp_path / "out"), "bytes": len(written),
    }  # fmt: skip


def test_without_a_name_the_file_lies_beside_the_trace(saved, tmp_path, capsys):
    assert run(["export", str(saved[0]), "--to", "perfetto"]) == 0
    assert (tmp_path / "step.perfetto.json").exists()
    assert str(tmp_path / "step.perfetto.json") in capsys.readouterr().out


BAD = {
    "format": (["--to", "perfeto"], "did you mean 'perfetto'"),
    "no format": ([], "--to"),
    "unwritable": (["--to", "folded", "-o", "/proc/nowhere/t"], "cannot write '/proc"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_line_and_status_2(case, saved, capsys):
    arguments, part = BAD[case]
    assert run(["export", str(saved[0]), *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert part in err


def test_what_is_no_trace_is_not_exported(tmp_path, capsys):
    (tmp_path / "other.json.gz").write_text("{}")
    arguments = ["export", str(tmp_path / "other.json.gz"), "--to", "folded"]
    assert run(arguments) == 2
    assert "other.json.gz" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "other.json.gz"]
