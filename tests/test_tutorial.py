"""The tutorial shows what its script prints, and its answer to the exercise adds up."""

import subprocess
import sys
from pathlib import Path

from pages import blocks

import memprop as mp

DOCS = Path(__file__).parents[1] / "docs"
SCRIPT = DOCS / "examples" / "textbook_section.py"
TEXT = (DOCS / "tutorial.md").read_text(encoding="utf-8")


def test_the_page_shows_parts_of_the_script():
    script = SCRIPT.read_text(encoding="utf-8")
    assert all(block in script for block in blocks("docs/tutorial.md", "python"))


def test_the_page_shows_all_that_the_script_prints():
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT], capture_output=True, text=True, check=True
    )
    printed = {part.rstrip("\n") for part in done.stdout.split("\n\n")}
    assert {block.rstrip("\n") for block in blocks("docs/tutorial.md", "text")} == printed
    assert done.stdout.endswith("W1 True\nW2 True\n")


def test_the_answer_to_the_exercise_is_the_formula():
    n, d, h, q = 256, 20, 64, 10
    parameters = 4 * (h * d + q * h)
    prediction = parameters + 4 * (n * d + n * h)
    activations = 4 * (2 * n * h + n * q + 3)
    derivatives = 4 * (2 * n * h + n * q + 1)
    training = 4 * n * d + 8 * n + 2 * parameters + activations + derivatives
    model = mp.MLP([d, h, q], activation="relu", bias=False, l2=0.1)
    assert mp.simulate(model, n, schedule="textbook").peak == training
    assert mp.simulate(model, n, mode="inference").peak == prediction
    assert f"**{training:,}**" in TEXT
    assert f"{prediction:,} bytes" in TEXT
