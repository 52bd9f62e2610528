"""The page on NumPy shows its example as it is, and what it really prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "numpy.md"
EXAMPLES = [ROOT / "docs" / "examples" / f"numpy_{name}.py" for name in ("profile", "loop")]


@pytest.mark.skipif(not PAGE.exists(), reason="the page comes with a checkout only")
@pytest.mark.parametrize("seed", ["3", "4"])  # two orders in which tracemalloc tells the sites
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_page_shows_the_example_and_its_output(tmp_path, seed, number):
    page = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[number]
    printed = re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL)[number]
    figure = tmp_path / "figure.png"
    command = [sys.executable, EXAMPLES[number].relative_to(ROOT).as_posix(), str(figure)]
    seeded = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(command, cwd=ROOT, env=seeded, capture_output=True, text=True, check=True)
    assert shown in EXAMPLES[number].read_text(encoding="utf-8")
    assert done.stdout == printed
    assert matplotlib.image.imread(figure).std() > 0


@pytest.mark.parametrize(("example", "line", "begins"), [(0, 27, "z = x @"), (1, 20, "error = h")])
def test_the_lines_that_the_page_names_are_these(example, line, begins):
    lines = EXAMPLES[example].read_text(encoding="utf-8").splitlines()
    assert lines[line - 1].strip().startswith(begins)
