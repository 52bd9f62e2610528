"""Norms, dropout and skip connections: right gradients, masks that are the same bits every time."""

import itertools

import numpy as np
import pytest
from cases import ACTIVATIONS, BLOCKS, DTYPES, LOSSES, data, model, with_random_biases
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import thorough
from oracles import central_differences, dropout_mask, torch_output, traced_growth

import memprop as mp
from memprop.errors import InvalidTypeError, InvalidValueError
from memprop.graph.autodiff import differentiate
from memprop.schedules.check import check
from memprop.schedules.stages import layers, stages

RECOMPUTING = (
    *("selective", "every:1", "every:3", "sqrt", "revolve:1", "revolve:2", "revolve:5"),
    "offload:scratch",
)
TOLERANCE = {"float32": 2e-5, "float64": 1e-10}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Where what is stored on disk goes."""
    monkeypatch.chdir(tmp_path)


@thorough
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("schedule", ["textbook", "lean"])
@pytest.mark.parametrize("blocks", BLOCKS)
def test_gradients_are_those_of_central_differences(blocks, schedule, activation):
    kind = {"activation": activation, "l2": 0.1, "dtype": "float64", **BLOCKS[blocks]}
    mlp = with_random_biases(model(depth=2, width=4, inputs=4, outputs=3, **kind))
    x, y = data(mlp, 5)
    gradients = mp.trace(mlp, x, y, schedule=schedule).outputs["gradients"]

    def objective():  # a step of its own each time: the first, which has always the same masks
        step = mp.Step(mlp, len(x), schedule, record=False)
        step(x, y)
        return step.outputs["objective"]

    for name, array in mlp.parameters.items():
        expected = central_differences(objective, array)
        scale = max(np.abs(expected).max(), 1e-3)  # a bias before a norm has none but rounding
        assert np.abs(gradients[name] - expected).max() <= 1e-6 * scale, name


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    depth=st.integers(1, 5),
    width=st.integers(2, 9),
    inputs=st.integers(1, 9),
    batch=st.integers(1, 9),
    activation=st.sampled_from(ACTIVATIONS),
    loss=st.sampled_from(LOSSES),
    bias=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    schedule=st.sampled_from(["textbook", "lean", "sqrt"]),
    norm=st.sampled_from([None, "layer"]),
    residual=st.booleans(),
    p=st.sampled_from([0.0, 0.25, 0.5]),
    seed=st.integers(0, 99),
)
def test_gradients_are_those_of_pytorch(
    torch, depth, width, inputs, batch, p, norm, residual, seed, schedule, **options
):
    how = {"norm": norm, "residual": residual}
    mlp = model(depth, width, inputs, dropout=p, seed=seed, **how, **options)
    with_random_biases(mlp, seed)
    x, y = data(mlp, batch, seed)
    out = mp.trace(mlp, x, y, schedule=schedule).outputs
    theirs = {n: torch.tensor(a, requires_grad=True) for n, a in mlp.parameters.items()}
    masks = {
        layer: dropout_mask(seed, layer, 0, (batch, width), p, mlp.dtype)
        for layer in range(1, depth + 1)
    }
    arguments = {"widths": mlp.widths, "activation": mlp.activation, "p": p, **how}
    o = torch_output(torch, torch.from_numpy(x), theirs, masks, **arguments)
    functional = torch.nn.functional
    losses = {"cross_entropy": functional.cross_entropy, "mse": functional.mse_loss}
    objective = losses[mlp.loss](o, torch.from_numpy(y))
    objective.backward()
    rtol = TOLERANCE[mlp.dtype]
    assert out["objective"] == pytest.approx(objective.item(), rel=rtol)
    largest = max(float(v.grad.abs().max()) for v in theirs.values())
    for name, variable in theirs.items():
        # A bias before a norm has a gradient of rounding only, of the size of what cancelled.
        np.testing.assert_allclose(
            out["gradients"][name], variable.grad.numpy(), rtol=rtol, atol=rtol * largest
        )


@pytest.mark.parametrize("blocks", BLOCKS)
def test_every_schedule_is_legal_predicted_and_gives_the_gradients_of_lean(blocks):
    for activation, loss in itertools.product(("relu", "gelu"), LOSSES):
        mlp = with_random_biases(
            model(5, activation=activation, loss=loss, l2=0.1, **BLOCKS[blocks])
        )
        x, y = data(mlp)
        lean = mp.trace(mlp, x, y).outputs["gradients"]
        largest = max(np.abs(gradient).max() for gradient in lean.values())
        for name in ("textbook", "lean", *RECOMPUTING, "microbatch:2", "selective+microbatch:3"):
            for allocator in ("heap", "arena"):
                step = mp.Step(mlp, len(x), name, allocator=allocator)
                check(step.schedule)
                step(x, y)
                assert step.trace == mp.simulate(mlp, len(x), schedule=name)
                assert step.trace.peak == step.schedule.peak
                same = name == "lean" or name in RECOMPUTING
                for parameter, gradient in lean.items():
                    if same:
                        np.testing.assert_array_equal(step.gradients[parameter], gradient)
                    else:
                        np.testing.assert_allclose(
                            step.gradients[parameter], gradient, rtol=1e-4, atol=1e-5 * largest
                        )


@thorough
@pytest.mark.parametrize("blocks", BLOCKS)
def test_budgets_hold_and_leave_the_gradients_as_they_are(blocks):
    mlp = mp.MLP([64, *[128] * 8, 10], **BLOCKS[blocks])
    x, y = data(mlp, 512)
    lean = mp.trace(mlp, x, y)
    smallest = int(mp.frontier(mlp, 512)["peak_bytes"].min())
    for part in (0.0, 0.3, 0.7):
        budget = int(smallest + part * (lean.peak - smallest))
        step = mp.Step(mlp, 512, f"budget:{budget}", allocator="heap")

        def run(step=step):
            step(x, y)
            step.release()

        traced = traced_growth(run)
        step(x, y)
        assert step.trace.peak <= budget
        predicted = mp.simulate(mlp, 512, schedule=f"budget:{budget}")
        growth = predicted.peak - predicted.persistent_bytes
        assert 0 <= traced - growth <= 16 * 1024 + 0.001 * growth
        again = mp.Step(mlp, 512, f"budget:{budget}")  # the first step of its own
        again(x, y)
        for name, gradient in lean.outputs["gradients"].items():
            np.testing.assert_array_equal(again.gradients[name], gradient)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("schedule", ["lean", "sqrt", "revolve:2", "offload:scratch"])
@pytest.mark.parametrize("blocks", BLOCKS)
def test_steps_are_counted_the_same_however_parameters_are_updated(blocks, schedule, optimizer):
    ours, theirs = (model(4, **BLOCKS[blocks]) for _ in range(2))
    x, y = data(ours)
    steps = [
        mp.Step(mlp, len(x), name, optimizer=optimizer, update=update)
        for mlp, name, update in ((ours, schedule, "in_backward"), (theirs, "lean", "at_end"))
    ]
    for _ in range(3):
        assert steps[0](x, y) == steps[1](x, y)
    for name, array in theirs.parameters.items():
        np.testing.assert_array_equal(ours.parameters[name], array)


# Masks


def masked(seed=0, layer=1, step=0, p=0.3, batch=40, width=33, dtype="float32", **options):
    """Which units a layer keeps: seen from outside, in a network that hands its units on."""
    mlp = mp.MLP(
        [1, *[width] * layer, width],
        activation="identity",
        loss="mse",
        dropout=p,
        seed=seed,
        dtype=dtype,
        **options,
    )
    for name, array in mlp.parameters.items():
        array.fill(0)
        if name == f"b{layer}":  # the units of this layer alone are 1, before they are dropped
            array.fill(1)
    last = mlp.parameters[f"W{layer + 1}"]
    np.fill_diagonal(last, 1)
    run = mp.Step(mlp, batch)
    x, y = np.zeros((batch, 1), dtype), np.zeros((batch, width), dtype)
    for _ in range(step + 1):
        run(x, y)
    # L is the mean of (o - y)^2: its gradient in W is 2 / n * sum over the samples of o_i o_j.
    counted = run.gradients[f"b{layer + 1}"] * (batch * width) / 2 * (1 - p)
    return np.rint(counted).astype(int)


def test_masks_are_those_of_the_definition():
    for seed, layer, step, dtype in itertools.product((0, 7), (1, 2), (0, 2), DTYPES):
        found = masked(seed, layer, step, dtype=dtype)
        expected = dropout_mask(seed, layer, step, (40, 33), 0.3, dtype).sum(axis=0)
        np.testing.assert_array_equal(found, expected)


def test_masks_differ_between_seeds_layers_and_steps():
    first = masked()
    for other in (masked(seed=1), masked(layer=2), masked(step=1)):
        assert (first != other).any()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_as_many_units_are_kept_as_should_be(p):
    batch, width = 200, 300
    kept = masked(p=p, batch=batch, width=width).sum()
    deviation = (batch * width * p * (1 - p)) ** 0.5
    assert abs(kept - batch * width * (1 - p)) < 5 * deviation


@pytest.mark.parametrize("micro_batches", [3, 5, 7, 15])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_batch_in_slices_drops_what_it_drops_as_a_whole(micro_batches, dtype):
    # 105 x 7 numbers: no micro-batch begins where the generator counts on.
    mlp = model(2, dropout=0.4, dtype=dtype)
    x, y = data(mlp, 105)
    whole = mp.trace(mlp, x, y).outputs
    parts = mp.trace(mlp, x, y, schedule=f"microbatch:{micro_batches}").outputs
    assert parts["objective"] == pytest.approx(whole["objective"], rel=TOLERANCE[dtype])


def test_a_kept_mask_is_the_drawn_one_and_is_seen():
    drawn, kept = (
        model(3, dropout=0.3, dropout_mask=mask, width=8) for mask in ("regenerate", "store")
    )
    x, y = data(drawn, 40)
    ours, theirs = mp.trace(kept, x, y), mp.trace(drawn, x, y)
    for name, gradient in theirs.outputs["gradients"].items():
        np.testing.assert_array_equal(ours.outputs["gradients"][name], gradient)
    rows = ours.intermediates().set_index("variable")
    masks = rows[rows["dtype"] == "bool"]
    assert masks["bytes"].to_dict() == {f"mask{layer}": 40 * 8 for layer in (1, 2, 3)}
    assert "mask1" not in set(theirs.intermediates()["variable"])
    assert ours.saved_bytes - theirs.saved_bytes == 3 * 40 * 8


def test_prediction_drops_nothing():
    mlp = model(3, dropout=0.5)
    plain = model(3)
    x, _ = data(mlp)
    assert mlp.graph("inference") == plain.graph("inference")
    np.testing.assert_array_equal(mlp.predict(x), plain.predict(x))
    assert model(3, dropout=0.0).graph() == plain.graph()


def test_training_learns_with_all_of_it():
    digits = mp.load_digits()
    mlp = mp.MLP([64, 64, 64, 10], dropout=0.2, norm="layer", residual=True)
    history = mlp.fit(digits.x, digits.y, epochs=10, batch=50, optimizer="adam", schedule="sqrt")
    assert history["loss"].iloc[-1] < history["loss"].iloc[0] / 3
    assert mlp.score(digits.x, digits.y) > 0.95


# The graph


def test_layers_with_a_skip_connection_are_cut_between_blocks_only():
    graph = differentiate(model(3, inputs=7, norm="layer", residual=True, dropout=0.1).graph())
    for parts in (stages(graph), layers(graph)):
        assert [part.input for part in parts] == ["x", "h1", "h2", "h3"]
        forward = [operator for part in parts for operator in part.forward]
        backward = [operator for part in reversed(parts) for operator in part.backward]
        assert (*forward, *backward) == graph.operators


def test_layers_of_other_widths_have_no_skip_connection():
    graph = mp.MLP([5, 7, 7, 9, 9, 4], residual=True).graph()
    added = [operator.name for operator in graph.operators if operator.rule == "add"]
    assert added == ["add_2", "add_4"]


def test_a_norm_keeps_its_operand_alone():
    trace = mp.simulate(model(2, norm="layer"), 8)
    assert set(trace.intermediates()["variable"]) == {"x", "z1", "h1", "z2", "h2", "p"}


REFUSED = [
    ({"dropout": 1.0}, InvalidValueError, "dropout must be at least 0 and below 1, got 1.0"),
    ({"dropout": -0.1}, InvalidValueError, "got -0.1"),
    ({"dropout": float("nan")}, InvalidValueError, "got nan"),
    ({"dropout": "half"}, InvalidTypeError, "dropout must be a number, got 'half'"),
    ({"dropout": True}, InvalidTypeError, "dropout must be a number, got True"),
    ({"dropout_mask": "keep"}, InvalidValueError, "unknown dropout_mask 'keep'"),
    ({"norm": "batch"}, InvalidValueError, "unknown norm 'batch'"),
    ({"norm": 1}, InvalidTypeError, "norm must be one of none, layer, got 1"),
    ({"residual": 1}, InvalidTypeError, "residual must be True or False, got 1"),
]


@pytest.mark.parametrize(("options", "error", "message"), REFUSED)
def test_what_cannot_be_is_refused(options, error, message):
    with pytest.raises(error) as caught:
        model(2, **options)
    assert message in str(caught.value)
