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
EXAMPLE = ROOT / "docs" / "examples" / "numpy_profile.py"


@pytest.mark.skipif(not PAGE.exists(), reason="the page comes with a checkout only")
@pytest.mark.parametrize("seed", ["3", "4"])  # two orders in which tracemalloc tells the sites
def test_the_page_shows_the_example_and_its_output(tmp_path, seed):
    page = PAGE.read_text(encoding="utf-8")
    (shown,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    printed = re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL)[0]
    figure = tmp_path / "figure.png"
    command = [sys.executable, "docs/examples/numpy_profile.py", str(figure)]
    seeded = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(command, cwd=ROOT, env=seeded, capture_output=True, text=True, check=True)
    assert shown in EXAMPLE.read_text(encoding="utf-8")
    assert done.stdout == printed
    assert matplotlib.image.imread(figure).std() > 0


def test_the_line_that_the_page_names_is_that_of_z():
    assert EXAMPLE.read_text(encoding="utf-8").splitlines()[26].strip().startswith("z = x @")
