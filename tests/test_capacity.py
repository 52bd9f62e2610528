"""Peaks over batch sizes are what simulating each would give."""

import numpy as np
import pytest
from cases import ACTIVATIONS, model
from hypothesis import given, settings
from hypothesis import strategies as st

import memprop as mp

STEPS = st.fixed_dictionaries(
    {
        "schedule": st.sampled_from(["textbook", "lean"]),
        "mode": st.sampled_from(["train", "inference"]),
        "optimizer": st.sampled_from([None, "sgd", "adam"]),
    }
)
MODELS = st.builds(
    model,
    depth=st.integers(0, 5),
    width=st.integers(1, 40),
    activation=st.sampled_from(ACTIVATIONS),
    l2=st.sampled_from([0.0, 0.1]),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(mlp=MODELS, how=STEPS, batches=st.lists(st.integers(1, 5000), min_size=1, max_size=5))
def test_peaks_over_arrays_are_those_of_simulations(mlp, how, batches):
    peaks = mp.peak_bytes(mlp, np.array(batches), **how)
    assert peaks.tolist() == [mp.simulate(mlp, batch, **how).peak for batch in batches]
    assert mp.peak_bytes(mlp, batches[0], **how) == peaks[0]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(mlp=MODELS, how=STEPS, budget=st.integers(0, 2**22))
def test_the_largest_batch_fits_and_the_next_does_not(mlp, how, budget):
    largest = mp.max_batch(mlp, budget, **how)
    assert largest == 0 or mp.simulate(mlp, largest, **how).peak <= budget
    assert mp.simulate(mlp, largest + 1, **how).peak > budget


def test_the_peak_may_move_from_operator_to_operator_as_batches_grow():
    mlp = mp.MLP([50, 300, 20, 200, 10], l2=0.1)
    batches = np.arange(1, 150)
    steps = [mp.simulate(mlp, batch) for batch in batches]
    assert len({step.peak_operator for step in steps}) == 4
    assert mp.peak_bytes(mlp, batches).tolist() == [step.peak for step in steps]


def test_shapes_of_batches_are_kept():
    mlp = model()
    assert mp.peak_bytes(mlp, np.ones((2, 3), dtype=np.uint8)).shape == (2, 3)
    assert mp.peak_bytes(mlp, np.array([], dtype=int)).shape == (0,)
    assert isinstance(mp.peak_bytes(mlp, 7), int)


@pytest.mark.parametrize("budget", ["lots", "", "1 XB", -1, None, 2.5])
def test_a_budget_is_a_size(budget):
    with pytest.raises(mp.MempropError, match="size in bytes"):
        mp.max_batch(model(), budget)


def test_budgets_have_no_upper_end():
    assert mp.max_batch(model(), 10**30) > 10**20
    assert mp.max_batch(model(), "2 GiB") == mp.max_batch(model(), 2 * 2**30)


def test_batches_are_positive_integers():
    with pytest.raises(ValueError, match="positive integers, got -1"):
        mp.peak_bytes(model(), [3, -1])
    with pytest.raises(TypeError, match="integers"):
        mp.peak_bytes(model(), np.array([1.5]))
