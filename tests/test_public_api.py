"""The names that users type are there, documented, and cheap to import."""

import ast
import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import memprop as mp

NAMES = [
    "MLP",
    "Sequential",
    "Layer",
    "Linear",
    "Conv2d",
    "MaxPool2d",
    "Embedding",
    "SelfAttention",
    "LayerNorm",
    "Dropout",
    "Residual",
    "Flatten",
    "ReLU",
    "Tanh",
    "Sigmoid",
    "GELU",
    "SiLU",
    "Softplus",
    "Identity",
    "register",
    "check_operator",
    "Rule",
    "Gradient",
    "Activation",
    "Loss",
    "Optimizer",
    "elementwise",
    "elementwise_backward",
    "update_rule",
    "Strategy",
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
    "Way",
    "optimal",
    "schedule",
    "frontier",
    "Rates",
    "measure_rates",
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
    members = {name: getattr(mp, name) for name in dir(mp) if not name.startswith("_")}
    assert {name for name, value in members.items() if not inspect.ismodule(value)} == set(NAMES)
    assert set(mp.__all__) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_documented(name):
    documented = getattr(mp, name)
    assert inspect.getdoc(documented)
    if inspect.isclass(documented):
        for member, value in vars(documented).items():
            if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{member}"


def test_type_checkers_see_each_name_where_it_is_loaded_from():
    tree = ast.parse(Path(mp.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in NAMES
    }
    assert seen == mp._HOME


def test_an_unknown_name_is_an_attribute_error_that_quotes_it():
    with pytest.raises(AttributeError, match="module 'memprop' has no attribute 'simulte'"):
        mp.simulte  # noqa: B018 - that it fails is what is tested


def loaded_by(code):
    """The modules that a fresh interpreter has loaded after ``code``."""
    code += "; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"pandas", "matplotlib", "pydantic", "scipy", "rich", "typer", "psutil", "pyarrow"}
HEAVY |= {"fast_sugiyama", "jinja2", "memory_profiler", "torch", "jax"}


def test_importing_memprop_loads_nothing_of_it_and_nothing_heavier_than_numpy():
    loaded = loaded_by("import memprop")
    assert not loaded & HEAVY
    assert {name for name in loaded if name.split(".")[0] == "memprop"} <= {
        "memprop",
        "memprop.version",
    }


def test_a_prediction_loads_neither_planners_nor_profilers_nor_figures():
    loaded = loaded_by("import memprop as mp; mp.simulate(mp.MLP([4, 5, 6]), batch=8)")
    assert "memprop.engine.step" in loaded
    assert not loaded & HEAVY
    parts = ("profiler", "sweep", "report", "data", "schedules.budget", "schedules.optimal")
    parts += ("graph.picture.draw", "traces.exports.tables", "traces.figures")
    assert not loaded & {f"memprop.{part}" for part in parts}


def test_the_help_of_the_command_line_loads_no_numpy():
    loaded = loaded_by("import memprop.cli; memprop.cli.run(['--help'])")
    assert "typer" in loaded
    assert "numpy" not in loaded
    assert not loaded & HEAVY - {"typer", "rich"}


@pytest.mark.parametrize(
    "name",
    [
        "memprop",
        "memprop.units",
        "memprop.errors",
        "memprop.graph.affine",
        "memprop.schedules.chain",
        "memprop.graph.picture.labels",
    ],
)
def test_examples_in_docstrings_are_right(name):
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0
