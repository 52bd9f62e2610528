"""Prediction equals the ledger, and both equal closed formulas."""

import itertools

import numpy as np
import pytest
from cases import ACTIVATIONS, DTYPES, LOSSES, data, model

import memprop as mp
from memprop.schedules.check import check
from memprop.schedules.names import strategy_named, without_number


@pytest.mark.parametrize("depth", range(1, 7))
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_prediction_is_the_ledger(depth, activation):
    kinds = itertools.product(LOSSES, (True, False), DTYPES, (0.0, 0.1))
    for loss, bias, dtype, l2 in kinds:
        mlp = model(depth, activation=activation, loss=loss, bias=bias, dtype=dtype, l2=l2)
        x, y = data(mlp)
        assert mp.simulate(mlp, len(x), mode="inference") == mp.trace(mlp, x, mode="inference")
        for schedule, optimizer in itertools.product(("textbook", "lean"), (None, "sgd", "adam")):
            how = {"schedule": schedule, "optimizer": optimizer}
            predicted = mp.simulate(mlp, len(x), **how)
            assert predicted == mp.trace(mlp, x, y, **how)
            assert predicted.peak == predicted.timeline()["live_bytes"].max()


@pytest.mark.parametrize("allocator", ["heap", "arena"])
def test_both_allocators_leave_the_same_trace_and_gradients(allocator):
    mlp = model(3, activation="gelu")
    x, y = data(mlp)
    ours = mp.trace(mlp, x, y, allocator=allocator)
    theirs = mp.trace(mlp, x, y, allocator="heap")
    assert ours == theirs
    for name, gradient in theirs.outputs["gradients"].items():
        np.testing.assert_array_equal(ours.outputs["gradients"][name], gradient)


def section(d=64, h=128, q=10):
    """The section's own model: d inputs, h hidden units, q outputs, no bias, L2."""
    return mp.MLP([d, h, q], activation="relu", bias=False, l2=0.1, dtype="float64")


@pytest.mark.parametrize(("d", "h", "q", "n"), [(64, 128, 10, 32), (3, 5, 2, 1), (200, 7, 90, 40)])
def test_training_keeps_what_the_section_says(d, h, q, n):
    trace = mp.simulate(section(d, h, q), batch=n, schedule="textbook")
    cached = trace.intermediates().set_index("variable")["bytes"].to_dict()
    assert cached == {"x": 8 * n * d, "z1": 8 * n * h, "h1": 8 * n * h, "o": 8 * n * q}
    parameters = 8 * (h * d + q * h)
    at_peak = trace.peak_by_category()
    assert at_peak["parameter"] == parameters
    assert at_peak["parameter_gradient"] == parameters
    assert at_peak["input"] == 8 * (n * d + n)  # x, and the labels y
    assert at_peak["activation"] == 8 * (2 * n * h + n * q + 3)  # z, h, o; L, s, J
    assert at_peak["activation_gradient"] == 8 * (1 + n * q + 2 * n * h)  # dJ; do; dh, dz
    # The last variable to be born is dJ/dW1; lambda W1 is then added to it where it lies.
    assert trace.peak_operator == "linear_1.dW1"
    assert at_peak["workspace"] == 0
    assert at_peak["optimizer_state"] == 0


@pytest.mark.parametrize(("d", "h", "q", "n"), [(64, 128, 10, 32), (3, 5, 2, 1), (200, 7, 90, 40)])
def test_inference_needs_the_parameters_and_the_larger_of_two_neighbouring_layers(d, h, q, n):
    trace = mp.simulate(section(d, h, q), batch=n, mode="inference")
    assert trace.peak == 8 * (h * d + q * h) + 8 * max(n * d + n * h, n * h + n * q)
    assert trace.intermediates().empty


def test_lean_keeps_only_what_backward_reads():
    def cached(activation, schedule):
        mlp = model(2, activation=activation)
        return set(mp.simulate(mlp, 4, schedule=schedule).intermediates()["variable"])

    for activation in ("relu", "tanh", "sigmoid"):
        assert cached(activation, "lean") == {"x", "h1", "h2", "p"}
        assert cached(activation, "textbook") == {"x", "z1", "h1", "z2", "h2", "o"}
    for activation in ("gelu", "silu"):  # their derivative needs the input itself
        assert cached(activation, "lean") == {"x", "z1", "h1", "z2", "h2", "p"}
    assert cached("identity", "lean") == {"x", "h1", "h2", "p"}


@pytest.mark.parametrize("schedule", sorted(without_number()))
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_schedule_passes_the_reference_machine(schedule, activation):
    mode = "inference" if schedule == "inference" else "train"
    for loss, l2, optimizer in itertools.product(LOSSES, (0.0, 0.1), (None, mp.AdamW())):
        mlp = model(3, activation=activation, loss=loss, l2=l2)
        graph = mlp.graph(mode)
        check(strategy_named(schedule).schedule(graph, optimizer if mode == "train" else None))


def test_lean_never_needs_more_than_textbook():
    for activation, depth in itertools.product(ACTIVATIONS, (1, 3)):
        mlp = model(depth, activation=activation)
        batches = np.arange(1, 300)
        lean = mp.peak_bytes(mlp, batches, schedule="lean")
        assert (lean < mp.peak_bytes(mlp, batches, schedule="textbook")).all()


def test_flops_are_those_of_the_matrix_products_and_little_more():
    trace = mp.simulate(mp.MLP([64, 256, 256, 10]), batch=100)
    weights = 64 * 256 + 256 * 256 + 256 * 10
    products = 100 * 2 * (3 * weights - 64 * 256)  # no gradient of the input
    assert products < trace.about["flops"] < 1.03 * products
    assert trace.about["recomputed_flops"] == 0
    assert sum(operator.flops for operator in trace.operators) == trace.about["flops"]
