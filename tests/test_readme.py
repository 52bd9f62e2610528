"""What the README shows runs, and gives the numbers that stand beside it."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.skipif(not README.exists(), reason="the README comes with a checkout only")
def test_the_tour_runs_as_it_stands(tmp_path, monkeypatch):
    text = README.read_text(encoding="utf-8")
    tour, *_ = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(tour, "README.md", "exec"), names)  # noqa: S102 - our own README
    plt.close("all")
    trace, model, test, mp = (names[name] for name in ("trace", "model", "test", "mp"))
    assert f"# {trace.peak} bytes" in tour
    assert f"# {trace.peak_operator!r}" in tour
    assert f'"parameter": {trace.peak_by_category()["parameter"]}' in tour
    assert mp.Trace.load("step.json.gz") == trace
    assert model.score(test.x, test.y) == pytest.approx(0.98, abs=0.01)
