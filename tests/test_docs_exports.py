"""The lines in the table of docs/exports.md run, and are all that there are."""

import re
from pathlib import Path

import pytest

import memprop as mp

PAGE = Path(__file__).parents[1] / "docs" / "exports.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation comes with a checkout only")
def test_the_lines_of_the_table_run(tmp_path, monkeypatch):
    lines = re.findall(r"\| `(trace\.to_\w+\(.*?\))` \|", PAGE.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    assert {line.split("(")[0] for line in lines} == {
        f"trace.{name}" for name in vars(mp.Trace) if name.startswith("to_")
    }
    for line in lines:
        exec(line, {"trace": mp.simulate(mp.MLP([4, 2]), 3)})  # noqa: S102 - our own page
