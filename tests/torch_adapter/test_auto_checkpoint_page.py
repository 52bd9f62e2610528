"""The page on auto_checkpoint shows what its script really prints."""

import subprocess
import sys
from pathlib import Path

from pages import blocks

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = DOCS / "examples" / "checkpoint_by_budget.py"


def test_the_page_shows_the_script():
    assert blocks("docs/auto_checkpoint.md", "python")[1] in SCRIPT.read_text(encoding="utf-8")


def test_the_page_shows_what_the_script_prints(torch, tmp_path):
    figure = tmp_path / "figure.png"
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, figure], capture_output=True, text=True, check=True
    )
    assert done.stdout == blocks("docs/auto_checkpoint.md", "text")[0]
    assert figure.stat().st_size > 0
