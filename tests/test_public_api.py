"""The names that users type are there, documented, and cheap to import."""

import doctest
import importlib
import inspect
import subprocess
import sys

import pytest

import memprop as mp

NAMES = [
    "MLP",
    "Trace",
    "Step",
    "Graph",
    "Schedule",
    "SGD",
    "Momentum",
    "Adam",
    "AdamW",
    "MempropError",
    "InfeasibleBudget",
    "Chain",
    "optimal",
    "schedule",
    "frontier",
    "optimal_frontier",
    "trace",
    "simulate",
    "peak_bytes",
    "max_batch",
    "Profiler",
    "what_if",
    "load_ipython_extension",
    "load_results",
    "load_data",
    "load_digits",
    "parse_bytes",
    "format_bytes",
]


def test_the_public_names_are_exactly_these():
    modules = {name for name in vars(mp) if inspect.ismodule(getattr(mp, name))}
    public = {name for name in vars(mp) if not name.startswith("_")} - modules
    assert public == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_documented(name):
    documented = getattr(mp, name)
    assert inspect.getdoc(documented)
    if inspect.isclass(documented):
        for member, value in vars(documented).items():
            if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{member}"


def test_importing_memprop_loads_numpy_and_nothing_heavier():
    heavy = ("pandas", "matplotlib", "pydantic", "scipy", "rich", "typer", "psutil", "pyarrow")
    heavy += ("fast_sugiyama",)
    code = f"import sys, memprop; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name",
    [
        "memprop",
        "memprop.units",
        "memprop.errors",
        "memprop.graph.affine",
        "memprop.graph.picture.labels",
    ],
)
def test_examples_in_docstrings_are_right(name):
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0
