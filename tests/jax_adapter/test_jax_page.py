"""The page on JAX shows what its script really prints."""

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = DOCS / "examples" / "checkpoint_in_jax.py"
PAGE = (DOCS / "jax.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_shows_the_script():
    assert blocks("python")[1] in SCRIPT.read_text(encoding="utf-8")


def test_the_page_shows_what_the_script_prints(jax, tmp_path):
    figure = tmp_path / "figure.png"
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, figure], capture_output=True, text=True, check=True
    )
    ours, compiler = done.stdout.split("\nwhat the compiler reports\n")
    shown, shown_compiler = blocks("text")
    assert ours == shown
    # The compiler's figures are its own; what is said of them is only of which variants.
    names = [re.split(r"\s{2,}| temp", line)[0] for line in compiler.splitlines()]
    assert names == [re.split(r"\s{2,}| temp", line)[0] for line in shown_compiler.splitlines()]
    assert figure.stat().st_size > 0
