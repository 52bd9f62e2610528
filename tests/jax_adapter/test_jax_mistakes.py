"""Mistakes get one clear line each."""

import subprocess
import sys

import numpy as np
import pytest
from jax_cases import mlp, shaped

from memprop.errors import InvalidTypeError, InvalidValueError


def weights(jax):
    return shaped(jax, 3, 4)


def test_without_jax_the_extra_is_named():
    code = "import sys; sys.modules['jax'] = None; import memprop.jax"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("memprop.errors.MissingExtraError")
    assert 'pip install "memprop[jax]"' in last


def test_importing_memprop_loads_no_jax():
    code = "import sys, memprop; print(bool(sys.modules.get('jax')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_loss_that_is_no_scalar_names_its_shape(jax, mpj):
    with pytest.raises(InvalidValueError, match=r"float32 of shape \(3, 4\): return its mean"):
        mpj.simulate(lambda w: w * 2, weights(jax))


def test_a_loss_of_integers_is_refused(jax, mpj):
    with pytest.raises(InvalidValueError, match=r"int32 of shape \(\)"):
        mpj.simulate(lambda w: (w > 0).sum(), weights(jax))


def test_a_pair_asks_for_has_aux(jax, mpj):
    with pytest.raises(InvalidTypeError, match=r"a tuple of 2 arrays: .* say has_aux=True"):
        mpj.simulate(lambda w: (w.sum(), w), weights(jax))


def test_has_aux_asks_for_a_pair(jax, mpj):
    with pytest.raises(InvalidTypeError, match=r"must return \(loss, aux\), got float32"):
        mpj.simulate(lambda w: w.sum(), weights(jax), has_aux=True)


def test_integers_cannot_be_differentiated_by(jax, mpj):
    given = {"w": weights(jax), "step": shaped(jax, dtype="int32")}
    with pytest.raises(InvalidTypeError, match=r"p\['step'\] is int32"):
        mpj.simulate(lambda p: p["w"].sum() * p["step"], given)


def test_a_complex_loss_is_refused(jax, mpj):
    with pytest.raises(InvalidValueError, match=r"real floating scalar, got complex64"):
        mpj.simulate(lambda w: w.sum(), shaped(jax, 3, dtype="complex64"))


@pytest.mark.parametrize("empty", [(), {}, None, []])
def test_nothing_to_differentiate_is_said(empty, jax, mpj):
    with pytest.raises(InvalidValueError, match="nothing to differentiate"):
        mpj.simulate(lambda p, x: x.sum(), empty, weights(jax))


@pytest.mark.parametrize("argnums", [1, -2, (0, 0), ()])
def test_impossible_argnums_are_refused(argnums, jax, mpj):
    with pytest.raises(InvalidValueError, match="argnums"):
        mpj.simulate(lambda w: w.sum(), weights(jax), argnums=argnums)


def test_no_arguments_at_all_are_refused(jax, mpj):
    with pytest.raises(InvalidValueError, match="0 arguments"):
        mpj.simulate(lambda: 1.0)


@pytest.mark.parametrize("argnums", ["w", 0.5, [0.0]])
def test_argnums_are_integers(argnums, jax, mpj):
    with pytest.raises(InvalidTypeError, match="argnums"):
        mpj.simulate(lambda w: w.sum(), weights(jax), argnums=argnums)


def test_a_leaf_that_is_no_array_is_named(jax, mpj):
    with pytest.raises(InvalidTypeError, match=r"options\['mode'\] is str, not an array"):
        mpj.simulate(lambda w, options: w.sum(), weights(jax), {"mode": "train"})


def test_what_cannot_be_called_is_refused(jax, mpj):
    with pytest.raises(InvalidTypeError, match="fun must be a function"):
        mpj.simulate(3, weights(jax))


def test_a_wrong_number_of_arguments_is_told(jax, mpj):
    with pytest.raises(InvalidTypeError, match="fun cannot be called with the 2 arguments"):
        mpj.simulate(lambda w: w.sum(), weights(jax), weights(jax))


def test_python_control_flow_on_values_names_the_line(jax, mpj):
    def loss(w):
        if w.sum() > 0:
            return w.sum()
        return -w.sum()

    with pytest.raises(InvalidValueError, match=r"test_jax_mistakes.py:\d+ \(loss\)"):
        mpj.simulate(loss, weights(jax))


def test_numpy_on_a_traced_array_names_the_line(jax, mpj):
    def loss(w):
        return np.sum(np.sin(np.asarray(w)))

    with pytest.raises(InvalidValueError, match=r"test_jax_mistakes.py:\d+ \(loss\)"):
        mpj.saved_residuals(loss, weights(jax))


def test_what_a_call_left_behind_is_told(jax, mpj):
    left = []

    def loss(w):
        left.append(w.sum())
        return sum(left)

    with pytest.raises(InvalidValueError, match="side effects"):
        mpj.simulate(loss, weights(jax))


@pytest.mark.parametrize("name", ["simulate", "compiled_memory"])
def test_both_check_alike(name, jax, mpj):
    fun, args = mlp(jax)
    with pytest.raises(InvalidValueError, match="scalar"):
        getattr(mpj, name)(lambda *given: fun(*given)[None], *args)


def test_a_step_that_does_not_compile_can_still_be_traced(jax, mpj, monkeypatch):
    def refuse(self):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 4.0T is too much\nand so on")

    monkeypatch.setattr(jax.stages.Lowered, "compile", refuse)
    fun, args = mlp(jax)
    with pytest.raises(InvalidValueError, match=r"4.0T is too much. .*compile=False"):
        mpj.simulate(fun, *args)
    assert mpj.simulate(fun, *args, compile=False).peak > 0


def test_the_old_name_warns_and_does_the_same(jax, mpj):
    """trace runs nothing: simulate says so."""
    fun, args = mlp(jax)
    with pytest.warns(FutureWarning, match=r"memprop\.jax\.simulate: use that name") as caught:
        old = mpj.trace(fun, *args, compile=False)
    assert old == mpj.simulate(fun, *args, compile=False)
    assert [each.filename for each in caught] == [__file__]


def test_the_old_name_takes_the_new_options(jax, mpj, optax):
    fun, args = mlp(jax)
    options = {"optimizer": optax.sgd(0.1), "compile": False}
    with pytest.warns(FutureWarning):
        old = mpj.trace(fun, *args, **options)
    assert old == mpj.simulate(fun, *args, **options)
