"""The page and the report on PyTorch show what their scripts really give."""

import csv
import inspect
import subprocess
import sys
from pathlib import Path

import asks_for_torch  # noqa: F401
import pytest
import torch
from pages import blocks

import memprop.torch as mpt

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "torch.md"
SCRIPT = ROOT / "docs" / "examples" / "torch_step.py"
REPORT = ROOT / "reports" / "torch"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the pages come with a checkout only")


def test_public_functions_are_documented():
    functions = [value for value in vars(mpt).values() if inspect.isfunction(value)]
    assert {mpt.trace, mpt.simulate} <= set(functions)
    assert all(inspect.getdoc(function) for function in functions)


def test_the_page_shows_the_script():
    assert blocks("docs/torch.md", "python")[1] in SCRIPT.read_text(encoding="utf-8")


@pytest.mark.skipif(
    not torch.__version__.startswith("2.13"), reason="the page shows the output of PyTorch 2.13"
)
def test_the_page_shows_what_the_script_prints(tmp_path):
    figure = tmp_path / "figure.png"
    command = [sys.executable, "-W", "error", SCRIPT, figure]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == blocks("docs/torch.md", "text")[0]
    assert figure.stat().st_size > 0


@pytest.mark.skipif(
    not torch.__version__.startswith("2.13"), reason="the page shows the output of PyTorch 2.13"
)
def test_the_page_of_training_loops_shows_what_its_script_prints(tmp_path):
    figure = tmp_path / "figure.png"
    command = [sys.executable, "-W", "error", "docs/examples/training_loop.py", figure]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == blocks("docs/training_loop.md", "text")[0]
    assert figure.stat().st_size > 0


def rows(name):
    with (REPORT / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.skipif(not REPORT.exists(), reason="the report comes with a checkout only")
def test_the_report_agrees_with_itself():
    for row in rows("models.csv"):
        assert row["simulated_peak"] == row["traced_peak"] == row["mem_tracker_peak"]
        assert 0 <= int(row["allocator_peak"]) - int(row["traced_peak"]) <= 512
    text = (REPORT / "README.md").read_text(encoding="utf-8")
    for name in ("models.csv", "same_mlp.csv"):
        for row in rows(name):
            numbers = [int(value) for value in row.values() if value.isdigit()]
            shown = [f"{number:,}" for number in numbers if f"{number:,}" in text]
            assert len(shown) >= len(numbers) - 2  # parameters and saved_count are not shown
