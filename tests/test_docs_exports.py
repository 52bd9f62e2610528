"""What docs/exports.md shows runs."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import memprop as mp

PAGE = Path(__file__).parents[1] / "docs" / "exports.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation comes with a checkout only")
def test_the_lines_of_the_page_run(tmp_path, monkeypatch):
    text = PAGE.read_text(encoding="utf-8")
    (figures,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    lines = re.findall(r"\| `(trace\.to_\w+\(.*?\))` \|", text)
    monkeypatch.chdir(tmp_path)
    exec(compile(figures, PAGE.name, "exec"), {})  # noqa: S102 - our own page
    plt.close("all")
    assert (tmp_path / "step.pdf").read_bytes().startswith(b"%PDF")
    assert {line.split("(")[0] for line in lines} == {
        f"trace.{name}" for name in vars(mp.Trace) if name.startswith("to_")
    }
    for line in lines:
        exec(line, {"trace": mp.simulate(mp.MLP([4, 2]), 3)})  # noqa: S102 - our own page
