"""A specification may import files that register names; every process of the sweep runs them."""

import json
import subprocess
import sys

import pytest
from optional import thorough

import memprop as mp
from memprop.errors import SpecError
from memprop.sweep.plan import Trial, trials
from memprop.sweep.spec import load_spec

LAYERS = """
from functools import partial

import numpy as np

import memprop as mp


def forward(z, h):
    yield partial(np.abs, z, h)
    yield partial(np.add, h, np.ones((), h.dtype), h)
    yield partial(np.divide, z, h, h)


def backward(dh, h, dz):
    yield partial(np.abs, h, dz)
    yield partial(np.subtract, np.ones((), h.dtype), dz, dz)
    yield partial(np.multiply, dz, dz, dz)
    yield partial(np.multiply, dz, dh, dz)


class Softsign(mp.Activation):
    rule = "softsign"


mp.register(
    mp.elementwise("softsign", forward, flops=3, backward="softsign_backward", backward_reads="h",
                   in_place=False),
    mp.elementwise_backward("softsign_backward", backward, flops=4, reads="h"),
    Softsign,
)
"""

WITNESS = """
import resource

import memprop as mp
from memprop.probes import Witness


def growth(step):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


mp.register(Witness(name="rusage", measure=growth))
"""

SPEC = """
name = "mine"
title = "A sweep of my own layers"
imports = ["my_layers.py", "my_witness.py"]
[grid]
depth = [1, 2]
batch = 16
width = 8
activation = ["relu", "softsign"]
schedule = ["lean", "sqrt"]
[measure]
witnesses = ["tracemalloc", "rusage"]
steps = 1
repeats = 1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_layers.py").write_text(LAYERS, encoding="utf-8")
    (tmp_path / "my_witness.py").write_text(WITNESS, encoding="utf-8")
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def memprop(*arguments):
    """Run in a process of its own: what is registered stays registered."""
    return subprocess.run(
        [sys.executable, "-m", "memprop", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@thorough
def test_ones_own_activation_and_witness_are_swept(folder):
    done = memprop("sweep", "spec.toml", "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ran"] == 8
    results = mp.load_results("out")
    assert (results["status"] == "ok").all()
    assert (results["predicted_peak"] == results["ledger_peak"]).all()
    assert set(results["activation"]) == {"relu", "softsign"}
    assert (results["rusage_peak"] >= results["persistent_bytes"]).all()
    # A report runs nobody's code, and needs none.
    for name in ("my_layers.py", "my_witness.py"):
        (folder / name).write_text("raise SystemExit('it was run')", encoding="utf-8")
    again = memprop("report", "out")
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("imports", "complaint"),
    [
        ('["gone.py"]', "there is no file 'gone.py' to import"),
        ('["broken.py"]', "'broken.py' failed: ZeroDivisionError"),
        ('["layers"]', "expected a file that ends in .py"),
        ("3", "expected a list of Python files"),
    ],
)
def test_what_cannot_be_imported_is_said_in_one_line(folder, imports, complaint):
    (folder / "broken.py").write_text("1 / 0", encoding="utf-8")
    (folder / "layers").write_text("", encoding="utf-8")
    text = SPEC.replace('["my_layers.py", "my_witness.py"]', imports)
    (folder / "spec.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec("spec.toml")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_imports_keys_are_what_they_were(folder):
    text = SPEC.replace('imports = ["my_layers.py", "my_witness.py"]\n', "")
    text = text.replace(', "softsign"', "").replace(', "rusage"', "")
    (folder / "spec.toml").write_text(text, encoding="utf-8")
    for trial in trials(load_spec("spec.toml")):
        assert "imports" not in trial.to_json()
        assert Trial.from_json(trial.to_json()) == trial


def test_another_text_of_a_file_is_another_trial(folder):
    (folder / "empty.py").write_text("", encoding="utf-8")
    text = SPEC.replace('["my_layers.py", "my_witness.py"]', '["empty.py"]')
    text = text.replace(', "softsign"', "").replace(', "rusage"', "")
    (folder / "spec.toml").write_text(text, encoding="utf-8")
    first = trials(load_spec("spec.toml"))
    (folder / "empty.py").write_text("# changed", encoding="utf-8")
    second = trials(load_spec("spec.toml"))
    assert all(Trial.from_json(trial.to_json()) == trial for trial in first)
    assert {trial.key for trial in first}.isdisjoint(trial.key for trial in second)


def test_names_that_nobody_registers_are_still_refused(folder):
    text = SPEC.replace('imports = ["my_layers.py", "my_witness.py"]\n', "")
    (folder / "spec.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match="softsign"):
        load_spec("spec.toml")
    assert load_spec("spec.toml", stored=True).grid[0].activation == ("relu", "softsign")
