"""``memprop profile my_script.py:make_model``: a user's own code, its framework found out."""

import json
import sys

import pytest
from optional import load_optional

import memprop as mp
from memprop.cli import run

SCRIPT = """
import numpy as np
import memprop as mp
{imports}

def of_numpy(n=4):
    w, x = np.ones((8, 8)), np.ones((n, 8))
    def step(prof):
        w_, x_ = prof.watch(w, "w", "parameter"), prof.watch(x, "x")
        with prof.phase("forward"):
            h = np.tanh(x_ @ w_)
        with prof.phase("backward"):
            d = 1 - h * h
            return x_.T @ d
    return step

def of_memprop():
    return mp.MLP([8, 16, 4]), np.zeros((5, 8), "float32"), np.zeros(5, int)

def fails():
    return {{}}["missing"]

def fails_later():
    return lambda prof: 1 / 0

def is_nothing():
    return None

{more}
"""

TORCH = """
def of_torch(width=16, depth=2):
    module = nn.Sequential(*[nn.Linear(width, width) for _ in range(depth)])
    return module, torch.randn(4, width)

def of_torch_with_all():
    step = {"loss": nn.CrossEntropyLoss(), "target": torch.tensor([0, 1]), "warmup": 1}
    module, inputs = nn.Linear(8, 3), torch.randn(2, 8)
    return {"module": module, "inputs": inputs, "optimizer": torch.optim.Adam, **step}

def alone():
    return nn.Linear(8, 3)

def without_memory():
    return nn.Linear(2**20, 2**20, device="meta"), torch.empty(4, 2**20, device="meta")
"""

JAX = """
def of_jax(n=4):
    shape = jax.ShapeDtypeStruct
    return (lambda w, x: jnp.tanh(x @ w).sum()), shape((8, 8), "float32"), shape((n, 8), "float32")

def with_optimizer():
    fun, *args = of_jax()
    return {"fun": fun, "args": args, "optimizer": optax.adam(1e-3)}

def whole_step():
    fun, w, x = of_jax()
    adam = optax.adam(1e-3)

    @jax.jit
    def step(params, opt_state, x):
        updates, opt_state = adam.update(jax.grad(fun)(params, x), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return {"step": step, "args": (w, jax.eval_shape(adam.init, w), x)}
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Write a script of the user's; its name must be its own, for modules are imported once."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(imports="", more=""):
        path = tmp_path / f"script_{tmp_path.name.replace('-', '_')}.py"
        path.write_text(SCRIPT.format(imports=imports, more=more), encoding="utf-8")
        return path

    return write


@pytest.fixture
def memprop(capsys):
    def command(*arguments):
        status = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return command


def profiled(memprop, where, *arguments):
    status, out, err = memprop("profile", where, *arguments, "--json")
    assert status == 0, err
    assert "your own code" in err
    return json.loads(out)


def test_numpy_is_profiled_with_a_profiler(memprop, script):
    document = profiled(memprop, f"{script()}:of_numpy", "--arg", "n=16")
    assert document["framework"] == "numpy"
    kept = {row["variable"]: row["bytes"] for row in document["intermediates"]}
    assert kept == {"x": 16 * 8 * 8, "tanh": 16 * 8 * 8}


def test_a_model_of_memprop_is_traced(memprop, script):
    document = profiled(memprop, f"{script()}:of_memprop")
    assert document["peak"] == mp.simulate(mp.MLP([8, 16, 4]), 5).peak


def test_a_module_of_pytorch_is_traced_with_its_arguments(memprop, script, torch):
    path = script("import torch\nfrom torch import nn", TORCH)
    document = profiled(memprop, f"{path}:of_torch", "--arg", "width=32", "--arg", "depth=3")
    assert document["framework"] == "torch"
    assert document["persistent_bytes"] == 3 * (32 * 32 + 32) * 4
    assert document["run"] == "real"
    simulated = profiled(memprop, f"{path}:of_torch", "--simulated")
    assert simulated["run"] == "simulated"


def test_loss_target_and_optimizer_come_in_a_dict(memprop, script, torch):
    path = script("import torch\nfrom torch import nn", TORCH)
    document = profiled(memprop, f"{path}:of_torch_with_all")
    parameters = (8 * 3 + 3) * 4
    assert document["optimizer"] == "Adam"
    assert document["persistent_bytes"] == parameters + 2 * parameters + 2 * 4


def test_a_module_without_memory_is_simulated(memprop, script, torch):
    path = script("import torch\nfrom torch import nn", TORCH)
    document = profiled(memprop, f"{path}:without_memory", "--simulated")
    assert document["peak"] > 2 * 4 * 2**40
    status, _, err = memprop("profile", f"{path}:without_memory")
    assert status == 2
    assert "simulate" in err


def test_a_function_of_jax_is_traced(memprop, script, jax):
    path = script("import jax\nimport jax.numpy as jnp", JAX)
    document = profiled(memprop, f"{path}:of_jax", "--arg", "n=2")
    assert document["framework"] == "jax"
    assert document["peak_by_category"]["parameter"] == 8 * 8 * 4


@pytest.mark.parametrize("options", [(), ("--simulated",)])
@pytest.mark.parametrize("name", ["with_optimizer", "whole_step"])
def test_a_step_of_jax_brings_its_optimizer(name, options, memprop, script, jax):
    """Adam: two numbers a parameter, and a count."""
    load_optional("optax")
    path = script("import jax\nimport jax.numpy as jnp\nimport optax", JAX)
    document = profiled(memprop, f"{path}:{name}", *options)
    parameters = 8 * 8 * 4
    assert document["persistent_bytes"] == 3 * parameters + 4


def test_the_step_is_written_into_a_folder(memprop, script, tmp_path):
    status, out, err = memprop("profile", f"{script()}:of_numpy", "--out", tmp_path / "step")
    assert status == 0, err
    assert "peak" in out
    names = {path.name for path in (tmp_path / "step").iterdir()}
    assert {"trace.json.gz", "timeline.csv", "intermediates.csv", "timeline.svg"} <= names
    assert mp.Trace.load(tmp_path / "step" / "trace.json.gz").about["framework"] == "numpy"


@pytest.mark.parametrize(
    ("name", "options", "status", "message"),
    [
        ("nothing_of_the_kind", (), 2, "unknown function"),
        ("is_nothing", (), 2, "returned a NoneType; expected"),
        ("fails", (), 1, r".py:21: KeyError: 'missing'"),
        ("fails_later", (), 1, "ZeroDivisionError"),
        ("of_numpy", ("--arg", "size=3"), 2, "unexpected keyword argument 'size'"),
        ("of_numpy", ("--arg", "size"), 2, "--arg must be name=value, got 'size'"),
        ("of_numpy", ("--depth", 3), 2, "--depth describes a model of memprop's own"),
        ("of_numpy", ("--simulated",), 2, "--simulated is for modules of PyTorch"),
    ],
)
def test_what_goes_wrong_is_one_line(memprop, script, name, options, status, message):
    got, out, err = memprop("profile", f"{script()}:{name}", *options)
    assert got == status
    assert out == ""
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_module_alone_is_told_what_is_missing(memprop, script, torch):
    path = script("import torch\nfrom torch import nn", TORCH)
    status, _, err = memprop("profile", f"{path}:alone")
    assert status == 2
    assert "return (module, inputs)" in err


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("missing.py:make", "no file 'missing.py'"),
        ("script.py", "expected my_script.py:make_model"),
        ("no_such_module_anywhere:make", "cannot import"),
    ],
)
def test_a_factory_that_is_not_there_is_one_line(memprop, where, message):
    status, _, err = memprop("profile", where)
    assert status == 2
    assert message in err


def test_arguments_without_a_factory_are_refused(memprop):
    status, _, err = memprop("profile", "--arg", "n=3")
    assert status == 2
    assert "need a factory" in err


AWKWARD = """
import functools, os, sys
print("imported")

def prints():
    print("made")
    os.write(1, b"from below\\n")
    return of_numpy()

def exits():
    sys.exit("no data here")

def gives_up():
    raise GeneratorExit

partial = functools.partial(of_numpy, n=2)
"""


def test_with_json_what_the_users_code_prints_goes_to_stderr(script, capfd):
    status = run(["profile", f"{script(more=AWKWARD)}:prints", "--json"])
    out, err = capfd.readouterr()
    assert status == 0
    assert json.loads(out)["framework"] == "numpy"
    assert all(text in err for text in ("imported", "made", "from below"))


@pytest.mark.parametrize(
    ("name", "options", "status", "message"),
    [
        ("exits", (), 1, r"SystemExit: no data here"),
        ("gives_up", (), 1, "GeneratorExit"),
        ("partial", ("--arg", "size=3"), 2, "unexpected keyword argument 'size'"),
        ("of_numpy", ("--arg", "n=3", "--arg", "n=4"), 2, "--arg n=... is given twice"),
    ],
)
def test_what_awkward_code_does_is_one_line(memprop, script, name, options, status, message):
    got, out, err = memprop("profile", f"{script(more=AWKWARD)}:{name}", "--json", *options)
    assert (got, out) == (status, "")
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_script_that_cannot_be_read_is_told_its_own_line(memprop, tmp_path):
    path = tmp_path / "wrong_syntax.py"
    path.write_text("x = 1\ndef f(:\n", encoding="utf-8")
    status, _, err = memprop("profile", f"{path}:f")
    assert status == 1
    assert "wrong_syntax.py:2: SyntaxError" in err


def test_a_script_with_the_name_of_a_module_of_python_does_not_replace_it(memprop, script):
    path = script()
    named = path.with_name("json.py")
    path.rename(named)
    assert profiled(memprop, f"{named}:of_numpy")["framework"] == "numpy"
    assert sys.modules["json"] is json


@pytest.mark.parametrize("where", [".relative:f", "a b:f", "folder/:f", "s.py:f:g"])
def test_what_is_neither_a_file_nor_a_module_is_told_what_is_expected(memprop, where):
    status, _, err = memprop("profile", where)
    assert status == 2
    assert "package.module:make_model" in err
