"""The page on JAX shows what its script really prints."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

from pages import blocks

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "examples" / "checkpoint_in_jax.py"


def test_the_public_names_are_exactly_these_and_documented(mpj):
    public = {name for name in vars(mpj) if not name.startswith("_")}
    functions = {name for name in public if inspect.isfunction(getattr(mpj, name))}
    assert functions == {
        "simulate",
        "simulate_step",
        "saved_residuals",
        "compiled_memory",
        "profile",
        "trace",
    }
    assert all(inspect.getdoc(getattr(mpj, name)) for name in functions)


def test_the_page_shows_the_script():
    assert blocks("docs/jax.md", "python")[1] in SCRIPT.read_text(encoding="utf-8")


def test_the_page_shows_what_the_script_prints(jax, tmp_path):
    figure = tmp_path / "figure.png"
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, figure], capture_output=True, text=True, check=True
    )
    ours, compiler = done.stdout.split("\nwhat the compiler reports\n")
    shown, shown_compiler = blocks("docs/jax.md", "text")[:2]
    assert ours == shown
    # The compiler's figures are its own; what is said of them is only of which variants.
    names = [re.split(r"\s{2,}| temp", line)[0] for line in compiler.splitlines()]
    assert names == [re.split(r"\s{2,}| temp", line)[0] for line in shown_compiler.splitlines()]
    assert figure.stat().st_size > 0
