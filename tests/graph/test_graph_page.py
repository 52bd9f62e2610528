"""The page on drawing: its script runs, and its pictures are those that the page shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = DOCS / "examples" / "draw_graphs.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="the pages come with a checkout only")
def test_the_script_draws_what_the_page_shows(tmp_path):
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "linear_1 runs 2 times" in done.stdout
    assert "forward: 17 edges" in done.stdout
    shown = set(re.findall(r"images/(graph_\w+\.png)", (DOCS / "graph.md").read_text("utf-8")))
    assert {path.name for path in tmp_path.iterdir()} == shown
    assert all((DOCS / "images" / name).exists() for name in shown)
