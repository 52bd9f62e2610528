"""Weights begin with the variance that the activation's paper asks for."""

import numpy as np
import pytest
from cases import ACTIVATIONS, DTYPES

import memprop as mp
from memprop.graph.rules import rule, rule_names

GAINS = {
    "relu": 2,  # He et al. 2015, equation 10: half of what comes in is zero
    "gelu": 2,  # as relu, which they follow but near zero
    "silu": 2,
    "tanh": 1,  # LeCun et al. 1998, equation 16
    "sigmoid": 1,
    "identity": 1,
}
"""The variance of W times the number of inputs, for activations that a paper says something of."""


def test_every_activation_has_the_gain_of_its_paper():
    registered = {n for n in rule_names() if (rule(n).reads, rule(n).writes) == (("z",), ("h",))}
    assert set(GAINS) <= set(ACTIVATIONS) == registered
    assert {name: mp.Activation.registry[name].gain for name in GAINS} == GAINS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_variance_is_the_gain_by_the_number_of_inputs(activation, dtype):
    mlp = mp.MLP([300, 900, 400, 500], activation=activation, dtype=dtype, seed=11)
    for layer in (1, 2, 3):
        W = mlp.parameters[f"W{layer}"].astype(np.float64)
        expected = mp.Activation.registry[activation].gain / W.shape[1]
        # The variance of n normal numbers deviates by sqrt(2 / n) of itself, their mean by
        # sqrt(variance / n).
        assert abs(W.var() / expected - 1) < 5 * (2 / W.size) ** 0.5
        assert abs(W.mean()) < 5 * (expected / W.size) ** 0.5
        beyond = (np.abs(W) > 2 * expected**0.5).mean()
        assert beyond == pytest.approx(0.0455, abs=5 * (0.0455 / W.size) ** 0.5)  # normal


def test_biases_and_shifts_begin_at_zero_and_gains_at_one():
    parameters = mp.MLP([5, 7, 7, 3], norm="layer").parameters
    for name, array in parameters.items():
        if array.ndim == 1:
            np.testing.assert_array_equal(array, 1.0 if name.startswith("gamma") else 0.0)


def test_weights_differ_between_layers_and_seeds_and_not_between_models():
    ours, same, other = (mp.MLP([6, 6, 6], seed=seed).parameters for seed in (1, 1, 2))
    assert (ours["W1"] != ours["W2"]).all()
    assert (ours["W1"] != other["W1"]).all()
    np.testing.assert_array_equal(ours["W1"], same["W1"])
