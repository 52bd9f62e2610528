"""What a user hands in wrongly gets one clear line, of a type that is also a ValueError or so."""

import numpy as np
import pandas as pd
import pytest

import memprop as mp
import memprop.engine.arrays

MODEL = mp.MLP([4, 3, 2])
X = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
Y = np.array([0, 1, 0, 1, 0])
WITH_NAN = np.where(np.arange(20).reshape(5, 4) == 7, np.nan, 1.0)

BAD_ARRAYS = {
    "one dimension": (X[0], Y, ValueError, "x must have the shape"),
    "no samples": (X[:0], Y[:0], ValueError, r"got \(0, 4\)"),
    "too wide": (np.ones((5, 5)), Y, ValueError, r"x must have the shape \(5, 4\), got \(5, 5\)"),
    "texts": (np.full((5, 4), "a"), Y, TypeError, "x must hold real numbers, got the dtype <U1"),
    "objects": (X.astype(object), Y, TypeError, "got the dtype object"),
    "complex": (X.astype(complex), Y, TypeError, "got the dtype complex128"),
    "ragged": ([[1, 2], [3]], Y, ValueError, "x cannot be made an array"),
    "nan": (WITH_NAN, Y, ValueError, r"x\[1, 3\] is nan"),
    "infinity": (X * np.inf, Y, ValueError, r"x\[0, 0\] is -?inf"),
    "too large": (X.astype(float) * 1e300, Y, ValueError, "too large for float32"),
    "no labels": (X, None, ValueError, "a training step needs y"),
    "labels not whole": (X, Y.astype(float), TypeError, "y must hold integer labels"),
    "label too large": (X, Y + 1, ValueError, r"y\[1\] is the label 2: .* outputs for 0 to 1"),
    "negative label": (X, Y - 1, ValueError, r"y\[0\] is the label -1"),
    "labels in a column": (X, Y[:, None], ValueError, r"y must have the shape \(5,\)"),
    "too few labels": (X, Y[:3], ValueError, r"y must have the shape \(5,\), got \(3,\)"),
    "masked": (np.ma.masked_array(X, X > 1), Y, TypeError, "x is a masked array"),
    "true and false": (X, Y.astype(bool), TypeError, "got the dtype bool"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_refused_in_one_line(case):
    x, y, kind, message = BAD_ARRAYS[case]
    with pytest.raises(kind, match=message) as caught:
        mp.trace(MODEL, x, y)
    assert isinstance(caught.value, mp.MempropError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X.tolist(), Y.tolist()),
        (pd.DataFrame(X), pd.Series(Y)),
        (np.asfortranarray(X), Y.astype(np.int8)),
        (np.repeat(X, 2, axis=1)[:, ::2], Y.astype(np.uint64)),
        (X.astype(np.float64), np.repeat(Y, 2)[::2]),
    ],
)
def test_the_same_numbers_in_other_clothes_give_the_same_step(x, y):
    expected = mp.trace(MODEL, X, Y)
    found = mp.trace(MODEL, x, y)
    assert found == expected
    assert found.outputs["loss"] == expected.outputs["loss"]


def test_the_callers_arrays_are_left_alone():
    x, y = X.copy(), Y.copy()
    x.flags.writeable = y.flags.writeable = False
    for schedule in ("textbook", "lean"):
        mp.trace(MODEL, x, y, schedule=schedule)
        mp.trace(MODEL, x, mode="inference")
    np.testing.assert_array_equal(x, X)


BAD_WORDS = {
    "schedule": ({"schedule": "leen"}, "unknown schedule 'leen': did you mean 'lean'"),
    "schedule type": ({"schedule": 3}, "schedule must be a name"),
    "inference": ({"schedule": "inference"}, "mode='inference'"),
    "mode": ({"mode": "training"}, "unknown mode 'training'"),
    "optimizer": ({"optimizer": "adamm"}, "did you mean 'adam'"),
    "optimizer type": ({"optimizer": 3}, "optimizer must be a name"),
    "allocator": ({"allocator": "stack"}, "Known: heap, arena"),
}


@pytest.mark.parametrize("case", BAD_WORDS)
def test_unknown_words_list_the_known(case):
    how, message = BAD_WORDS[case]
    with pytest.raises(mp.MempropError, match=message):
        mp.trace(MODEL, X, Y, **how)


@pytest.mark.parametrize("batch", [0, -3, 2.5, "5", None, True])
def test_a_batch_is_a_positive_integer(batch):
    for function in (mp.Step, mp.simulate, mp.peak_bytes):
        with pytest.raises(
            mp.MempropError, match=f"batch must be a positive integer, got {batch!r}"
        ):
            function(MODEL, batch)


def test_a_step_says_what_it_cannot_tell_yet():
    step = mp.Step(MODEL, 5)
    for name in ("gradients", "outputs", "trace"):
        with pytest.raises(mp.MempropError, match="call it with x and y first"):
            getattr(step, name)
    silent = mp.Step(MODEL, 5, record=False)
    silent(X, Y)
    with pytest.raises(mp.MempropError, match="record=True"):
        _ = silent.trace
    with pytest.raises(mp.MempropError, match=r"x must have the shape \(5, 4\), got \(3, 4\)"):
        step(X[:3], Y[:3])


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="model must be"):
        mp.simulate("model", 5)


def test_sizes_beyond_what_a_column_holds_are_refused():
    with pytest.raises(ValueError, match=r"2\^63"):
        mp.simulate(MODEL, 10**30)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), True, "a", None])
def test_optimizers_check_their_constants(rate):
    with pytest.raises(mp.MempropError, match="Adam: learning_rate must be"):
        mp.Adam(rate)
    with pytest.raises(mp.MempropError, match="beta1 must be at least 0 and below 1, got 1"):
        mp.Adam(beta1=1.0)


def test_a_step_that_fails_lets_go_of_its_arrays(monkeypatch):
    step = mp.Step(MODEL, 5, allocator="heap")

    def out_of_memory(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(memprop.engine.arrays, "make", out_of_memory)
    with pytest.raises(MemoryError):
        step(X, Y)
    assert all(array is None for array in step._arrays._values)


def test_a_schedule_belongs_to_its_model_mode_and_optimizer():
    own = mp.Step(MODEL, 5).schedule
    trained = mp.Step(MODEL, 5, optimizer="sgd").schedule
    assert mp.simulate(MODEL, 5, schedule=own) == mp.simulate(MODEL, 5)
    assert mp.simulate(MODEL, 5, schedule=trained, optimizer="sgd").peak > 0
    for other in (mp.MLP([4, 3, 2], activation="tanh"), mp.MLP([4, 4, 2])):
        with pytest.raises(mp.MempropError, match="made for another model"):
            mp.simulate(other, 5, schedule=own)
    with pytest.raises(mp.MempropError, match="or for another mode"):
        mp.simulate(MODEL, 5, schedule=own, mode="inference")
    with pytest.raises(mp.MempropError, match="does not update parameters with sgd"):
        mp.MLP([4, 3, 2]).fit(X, Y, schedule=own, optimizer=mp.SGD(0.5))
    with pytest.raises(mp.MempropError, match="does not update parameters with adam"):
        mp.simulate(MODEL, 5, schedule=trained, optimizer="adam")


def test_a_trace_and_a_prediction_outlive_the_next_run():
    step = mp.Step(MODEL, 5, allocator="arena")
    step(X, Y)
    trace = step.trace
    kept = trace.outputs["gradients"]["W1"].copy()
    step(-X, Y)
    np.testing.assert_array_equal(trace.outputs["gradients"]["W1"], kept)
    inference = mp.Step(MODEL, 5, mode="inference")
    first = inference(X)
    before = first.copy()
    inference(-X)
    np.testing.assert_array_equal(first, before)


def test_a_step_that_is_refused_leaves_no_old_results():
    step = mp.Step(MODEL, 5)
    step(X, Y)
    with pytest.raises(ValueError, match="x must have the shape"):
        step(X[:3], Y[:3])
    with pytest.raises(mp.MempropError, match="call it with x and y first"):
        _ = step.outputs


@pytest.mark.parametrize("function", [mp.Step, mp.simulate, mp.peak_bytes])
def test_steps_beyond_the_integers_that_count_them_are_refused(function):
    for batch in (2**62, 2**63, 10**30):
        with pytest.raises(ValueError, match=r"2\^63|integers"):
            function(MODEL, batch)
    with pytest.raises(ValueError, match="narrower layers"):
        function(mp.MLP([10**10, 10**10]), 1)
    with pytest.raises(ValueError, match=r"2\^63"):
        mp.peak_bytes(MODEL, np.array([1, 2**60], dtype=np.uint64))


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((9, 9), np.float32), np.zeros((3, 4)), [1.0], np.zeros((4, 3), np.float32).T, None],
)
def test_parameters_that_were_exchanged_are_checked(wrong):
    model = mp.MLP([4, 3, 2])
    model.parameters["W1"] = wrong
    with pytest.raises(ValueError, match="W1 must be"):
        mp.Step(model, 5)


def test_a_diverged_model_does_not_predict():
    model = mp.MLP([4, 3, 2])
    model.parameters["W1"][...] = np.nan
    with pytest.raises(ValueError, match="diverged"):
        model.predict(X)


@pytest.mark.parametrize("value", [10**400, float("inf"), -1, "a", np.complex64(1)])
def test_constants_are_finite_numbers(value):
    for make in (mp.SGD, mp.AdamW, lambda value: mp.MLP([4, 2], l2=value)):
        with pytest.raises(mp.MempropError):
            make(value)
    with pytest.raises(ValueError, match="epsilon must be positive, got 0"):
        mp.Adam(epsilon=0)
