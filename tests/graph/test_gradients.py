"""Gradients are those of the section, of finite differences, and of PyTorch."""

import numpy as np
import pytest
from cases import ACTIVATIONS, DTYPES, LOSSES, data, model, with_random_biases
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import (
    central_differences,
    section_step,
    torch_model,
    torch_named,
    torch_objective,
)

import memprop as mp

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


@pytest.mark.parametrize("schedule", ["textbook", "lean"])
def test_gradients_are_the_formulas_of_the_section(schedule):
    mlp = mp.MLP([5, 8, 3], activation="relu", bias=False, l2=0.3, dtype="float64", seed=4)
    x, y = data(mlp, batch=11)
    out = mp.trace(mlp, x, y, schedule=schedule).outputs
    expected = section_step(x.T, y, mlp.parameters["W1"], mlp.parameters["W2"], 0.3)
    for name, letter in (("loss", "L"), ("penalty", "s"), ("objective", "J")):
        assert out[name] == pytest.approx(expected[letter], rel=1e-13)
    for name in ("W1", "W2"):
        np.testing.assert_allclose(out["gradients"][name], expected[f"d{name}"], rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("schedule", ["textbook", "lean"])
def test_gradients_are_those_of_central_differences(schedule, activation, loss):
    mlp = with_random_biases(
        model(depth=2, activation=activation, loss=loss, l2=0.1, dtype="float64")
    )
    x, y = data(mlp)
    step = mp.Step(mlp, batch=len(x), schedule=schedule)
    step(x, y)
    gradients = {name: array.copy() for name, array in step.gradients.items()}

    def objective():
        step(x, y)
        return step.outputs["objective"]

    for name, array in mlp.parameters.items():
        expected = central_differences(objective, array)
        scale = np.abs(expected).max()
        assert np.abs(gradients[name] - expected).max() <= 1e-6 * scale, name


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    depth=st.integers(1, 6),
    width=st.integers(1, 9),
    batch=st.integers(1, 9),
    activation=st.sampled_from(ACTIVATIONS),
    loss=st.sampled_from(LOSSES),
    bias=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    schedule=st.sampled_from(["textbook", "lean"]),
    l2=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 99),
)
def test_gradients_are_those_of_pytorch(torch, seed, batch, schedule, l2, **options):
    mlp = with_random_biases(model(l2=l2, seed=seed, **options), seed)
    x, y = data(mlp, batch, seed)
    out = mp.trace(mlp, x, y, schedule=schedule).outputs
    net = torch_model(torch, mlp.widths, mlp.parameters, mlp.activation, mlp.bias, mlp.dtype)
    objective = torch_objective(torch, net, *map(torch.from_numpy, (x, y)), mlp.loss, l2)
    objective.backward()
    rtol = TOLERANCE[mlp.dtype]
    assert out["objective"] == pytest.approx(objective.item(), rel=rtol)
    for name, expected in torch_named(net, lambda p: p.grad).items():
        got = out["gradients"][name]
        # Sums that cancel leave rounding of the size of their terms: of the largest entry.
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def test_saturated_inputs_stay_finite():
    for activation in ACTIVATIONS:
        mlp = model(activation=activation, dtype="float32")
        x, y = data(mlp)
        out = mp.trace(mlp, x * 1e4, y).outputs
        assert np.isfinite(out["loss"]), activation
        assert all(np.isfinite(g).all() for g in out["gradients"].values()), activation
