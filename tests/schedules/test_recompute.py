"""Schedules that recompute: the gradients of lean bit for bit, in the memory that theory says."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from cases import ACTIVATIONS, LOSSES, OPTIMIZERS, data, model, with_random_biases
from checkpoint_schedules.multistage import optimal_steps_binomial

import memprop as mp
from memprop.errors import InvalidValueError, ScheduleError
from memprop.graph.autodiff import differentiate
from memprop.schedules.check import check
from memprop.schedules.names import strategy_named
from memprop.schedules.order import in_order
from memprop.schedules.revolve import extra_steps
from memprop.schedules.stages import layers, stages

RECOMPUTING = (
    *("selective", "every:1", "every:3", "sqrt", "revolve:1", "revolve:2", "revolve:5"),
    "offload:scratch",
)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Where what is stored on disk goes."""
    monkeypatch.chdir(tmp_path)


def layer_runs(schedule, layer):
    """How often the matrix product of a layer runs forward."""
    name = f"linear_{layer}"
    return sum(action.operator == name for action in schedule.computes())


@pytest.mark.parametrize("name", RECOMPUTING)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_recomputed_gradients_are_those_of_lean_bit_for_bit(name, activation):
    for loss, l2, allocator in itertools.product(LOSSES, (0.0, 0.1), ("heap", "arena")):
        mlp = with_random_biases(model(6, activation=activation, loss=loss, l2=l2))
        x, y = data(mlp)
        lean = mp.trace(mlp, x, y).outputs["gradients"]
        trace = mp.trace(mlp, x, y, schedule=name, allocator=allocator)
        for parameter, gradient in lean.items():
            np.testing.assert_array_equal(trace.outputs["gradients"][parameter], gradient)


@pytest.mark.parametrize(
    "name", [*RECOMPUTING, "microbatch:2", "sqrt+microbatch:3", "offload:scratch+microbatch:3"]
)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_they_are_legal_and_three_counts_agree(name, activation):
    for loss, l2, optimizer in itertools.product(LOSSES, (0.0, 0.1), (None, "adam")):
        mlp = model(5, activation=activation, loss=loss, l2=l2)
        x, y = data(mlp)
        step = mp.Step(mlp, len(x), name, optimizer=optimizer, allocator="heap")
        check(step.schedule)
        step(x, y)
        predicted = mp.simulate(mlp, len(x), schedule=name, optimizer=optimizer)
        assert predicted == step.trace
        assert predicted.peak == step.schedule.peak  # counted from the actions alone
        assert predicted.about["recomputed_flops"] == step.schedule.recomputed_flops


def test_stages_are_the_graph_cut_into_pieces():
    for activation, l2 in itertools.product(ACTIVATIONS, (0.0, 0.1)):
        graph = differentiate(model(4, activation=activation, l2=l2).graph())
        for parts in (stages(graph), layers(graph)):
            forward = [operator for part in parts for operator in part.forward]
            backward = [operator for part in reversed(parts) for operator in part.backward]
            assert (*forward, *backward) == graph.operators
        assert [part.input for part in layers(graph)] == ["x", "h1", "h2", "h3", "h4"]


def test_activations_are_stages_of_their_own_where_backward_reads_their_input():
    def inputs(activation):
        return [s.input for s in stages(differentiate(model(2, activation=activation).graph()))]

    assert inputs("relu") == ["x", "h1", "h2"]
    assert inputs("gelu") == ["x", "z1", "h1", "z2", "h2"]


def least_forward_steps(n, s, known={}):  # noqa: B006 - remembers what was found
    """By trying every place for the next state (Griewank & Walther 2000, section 2)."""
    if n == 1:
        return 0
    if s == 1:
        return n * (n - 1) // 2
    if (n, s) not in known:
        known[n, s] = min(
            k + least_forward_steps(n - k, s - 1) + least_forward_steps(k, s) for k in range(1, n)
        )
    return known[n, s]


def test_the_closed_form_of_revolve_is_the_minimum():
    for n, s in itertools.product(range(1, 101), range(1, 13)):
        assert extra_steps(n, s) == least_forward_steps(n, min(s, max(n - 1, 1))), (n, s)


def test_revolve_agrees_with_checkpoint_schedules():
    for n, s in itertools.product(range(2, 101), range(1, 13)):
        if s <= n - 1:
            assert n + extra_steps(n, s) == optimal_steps_binomial(n, s)


@pytest.mark.parametrize("states", range(1, 13))
def test_revolve_runs_as_many_forward_steps_as_the_formula_says(states):
    for n in (*range(states, 34), 67, 100):
        graph = model(n - 1, 2, 2, 2).graph()
        schedule = strategy_named(f"revolve:{states}").schedule(graph)
        runs = sum(layer_runs(schedule, layer) for layer in range(1, n + 1))
        assert runs - n == extra_steps(n, states)


def test_revolve_stores_no_more_states_than_it_has_slots():
    width, batch = 16, 64
    for states, n in itertools.product((2, 3, 5), (10, 40)):
        mlp = mp.MLP([width, *[width] * (n - 1), width], bias=False)
        trace = mp.simulate(mlp, batch, schedule=f"revolve:{states}")
        one = 4 * width * batch
        # The states, and what one layer's step needs: its output, two gradients, the loss.
        kept = trace.timeline()
        most = max(kept["activation"] + kept["input"] - 8 * batch)
        assert most <= (states + 2) * one + 64


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 9, 16, 17, 50, 100])
def test_sqrt_keeps_two_roots_and_runs_at_most_once_more(n):
    width, batch = 16, 64
    for activation in ("relu", "gelu"):
        mlp = mp.MLP([width, *[width] * (n - 1), width], activation=activation)
        trace = mp.simulate(mlp, batch, schedule="sqrt")
        one = 4 * width * batch
        kept = trace.timeline()
        per_layer = 2 if activation == "gelu" else 1  # z as well as h
        root = math.isqrt(n - 1) + 1
        most = max(kept["activation"] + kept["input"])
        assert most <= (root + per_layer * root + 3) * one
        schedule = strategy_named("sqrt").schedule(mlp.graph())
        assert all(layer_runs(schedule, layer) <= 2 for layer in range(1, n + 1))


def test_selective_computes_again_what_is_cheap_and_no_product():
    mlp = mp.MLP([64] * 5, activation="gelu", norm="layer", dropout=0.2)
    schedule = strategy_named("selective").schedule(mlp.graph())
    runs = Counter(action.operator for action in schedule.computes())
    operators = schedule.graph.operators_by_name
    again = Counter(operators[name].rule for name, times in runs.items() if times > 1)
    assert again == {"layer_norm": 3, "gelu": 3, "dropout": 3}


@pytest.mark.parametrize("n", range(1, 27))
def test_the_segments_of_sqrt_are_as_long_as_the_root_rounded_up(n):
    graph = model(n - 1, activation="gelu").graph()
    k = math.ceil(math.sqrt(n))
    segments = strategy_named(f"every:{k}").schedule(graph)
    assert strategy_named("sqrt").schedule(graph).actions == segments.actions
    # The last segment is there when backward begins, and so is the input of every other.
    again = [layer_runs(segments, layer) - 1 for layer in range(1, n + 1)]
    last = (n - 1) // k * k
    assert sum(again[last:]) == 0
    assert all(again[:last])


def test_a_kept_output_is_not_computed_again():
    # relu's derivative is taken from its output, so with every layer's input kept nothing is left.
    assert mp.simulate(model(5), 8, schedule="every:1").about["recomputed_flops"] == 0
    graph = model(5).graph()
    runs = [layer_runs(strategy_named("every:3").schedule(graph), layer) for layer in range(1, 7)]
    assert runs == [2, 2, 1, 1, 1, 1]


@pytest.mark.parametrize("loss", LOSSES)
def test_slices_add_up_to_the_batch(loss):
    for activation, l2, micro_batches in itertools.product(("relu", "gelu"), (0.0, 0.1), (2, 3, 6)):
        mlp = model(3, activation=activation, loss=loss, l2=l2, dtype="float64")
        x, y = data(mlp)
        whole = mp.trace(mlp, x, y).outputs
        parts = mp.trace(mlp, x, y, schedule=f"microbatch:{micro_batches}").outputs
        assert parts["objective"] == pytest.approx(whole["objective"], rel=1e-12)
        for name, gradient in whole["gradients"].items():
            np.testing.assert_allclose(parts["gradients"][name], gradient, rtol=1e-9, atol=1e-15)


def test_slices_divide_the_activations():
    mlp = mp.MLP([32, *[256] * 6, 10])
    batch = 960
    whole = mp.simulate(mlp, batch).timeline()["activation"].max()
    for micro_batches in (2, 4, 8):
        trace = mp.simulate(mlp, batch, schedule=f"microbatch:{micro_batches}")
        assert trace.timeline()["activation"].max() == pytest.approx(
            whole / micro_batches, rel=1e-3
        )


def test_training_in_slices_also_takes_what_is_left_of_the_data():
    def trained(schedule):
        mlp = model(2, dtype="float64")
        x, y = data(mlp, batch=61)
        mlp.fit(x, y, batch=16, epochs=2, optimizer="sgd", schedule=schedule)
        return mlp.parameters

    for name, array in trained("lean").items():
        sliced = trained("sqrt+microbatch:4")[name]
        np.testing.assert_allclose(sliced, array, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", ["lean", "sqrt", "revolve:2", "offload:scratch"])
def test_updates_in_backward_leave_the_same_parameters(optimizer, schedule):
    for activation, l2 in itertools.product(("relu", "gelu"), (0.0, 0.1)):
        ours, theirs = (model(5, activation=activation, l2=l2) for _ in range(2))
        x, y = data(ours)
        steps = [
            mp.Step(mlp, len(x), schedule, optimizer=optimizer, update=update)
            for mlp, update in ((ours, "in_backward"), (theirs, "at_end"))
        ]
        for _ in range(3):
            assert steps[0](x, y) == steps[1](x, y)
        assert steps[0].gradients == {}
        for name, array in theirs.parameters.items():
            np.testing.assert_array_equal(ours.parameters[name], array)


def test_a_repetition_that_nothing_reads_is_left_out():
    graph = differentiate(model(2).graph())
    plain = in_order(graph, graph.operators)
    for repeated in graph.operators[:4]:  # forward: what it makes again is read by nobody
        assert in_order(graph, (*graph.operators, repeated)) == plain


def test_updates_in_backward_hold_one_gradient_at_a_time():
    mlp = mp.MLP([64, *[256] * 8, 10])
    trace = mp.simulate(mlp, 32, optimizer="sgd", update="in_backward")
    assert trace.timeline()["parameter_gradient"].max() <= 4 * 256 * (256 + 1)
    assert trace == mp.trace(
        mlp, *data(mlp, 32), optimizer="sgd", update="in_backward", allocator="heap"
    )


def test_capacity_in_slices():
    mlp = model(3)
    how = {"schedule": "sqrt+microbatch:4", "optimizer": "adam"}
    batches = np.arange(4, 200, 4)
    peaks = mp.peak_bytes(mlp, batches, **how)
    assert peaks.tolist() == [mp.simulate(mlp, int(b), **how).peak for b in batches]
    largest = mp.max_batch(mlp, 50_000, **how)
    assert mp.peak_bytes(mlp, largest, **how) <= 50_000 < mp.peak_bytes(mlp, largest + 4, **how)
    with pytest.raises(ValueError, match="a batch of 6 cannot be taken in 4 equal micro-batches"):
        mp.peak_bytes(mlp, np.array([4, 6]), **how)


REFUSED = {
    "every:0": "every:... needs the number of layers in a segment, a positive integer",
    "every": "every:... needs the number",
    "every:-1": "got 'every:-1'",
    "every:two": "got 'every:two'",
    "revolve:0": "needs the number of stored states",
    "revolve:7": "more slots than the network has layers: choose at most revolve:6",
    "sqrt:2": "schedule 'sqrt' takes no number",
    "sqrt+lean": "two ways to do one thing",
    "microbatch:2+microbatch:3": "two ways to do one thing",
    "textbook+microbatch:2": "of the step, so micro-batches would save nothing",
    "inference+microbatch:2": "makes no sense",
    "microbatch:5": "a batch of 6 cannot be taken in 5 equal micro-batches",
    "microbatch:0": "needs the number of micro-batches",
    "sqrt+": "unknown schedule ''",
    "evry:2": "did you mean 'every:k'",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused_with_the_reason(name):
    mlp = model(5)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is held below
        mp.trace(mlp, *data(mlp), schedule=name)
    assert REFUSED[name] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_updates_in_backward_are_refused_where_they_make_no_sense():
    mlp = model(2)
    for how, reason in (
        ({}, "needs an optimizer"),
        ({"optimizer": "sgd", "schedule": "textbook"}, "which 'textbook' keeps"),
        ({"optimizer": "sgd", "schedule": "microbatch:2"}, "only after the last micro-batch"),
    ):
        with pytest.raises(ScheduleError, match=reason):
            mp.simulate(mlp, 6, update="in_backward", **how)
    with pytest.raises(InvalidValueError, match="did you mean 'at_end'"):
        mp.simulate(mlp, 6, optimizer="sgd", update="at_ends")
