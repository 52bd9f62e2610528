import hashlib
import itertools
from dataclasses import FrozenInstanceError, replace

import pytest
from cases import ACTIVATIONS
from hypothesis import given
from hypothesis import strategies as st

from memprop.errors import DataError
from memprop.probes import WITNESSES
from memprop.sweep.axes import AXES
from memprop.sweep.plan import Trial, trials
from memprop.sweep.spec import (
    GridSpec,
    MeasureSpec,
    SweepSpec,
)

TRIAL = Trial(
    depth=2,
    batch=32,
    width=64,
    mode="train",
    schedule="lean",
    activation="relu",
    optimizer="sgd",
    loss="cross_entropy",
    bias=True,
    l2=0.0,
    dtype="float32",
    seed=0,
    witnesses=("tracemalloc", "kernel"),
    steps=5,
    repeats=3,
    timeout_seconds=60.0,
    memory_limit_bytes=None,
    data_source="digits",
)

CANONICAL = (
    '{"batch":32,"data_digest":"","data_source":"digits","depth":2,"memory_limit_bytes":null,'
    '"optimizer":"sgd","repeats":3,"seed":0,"steps":5,"timeout_seconds":60.0,"width":64,'
    '"witnesses":["tracemalloc","kernel"]}'
)
"""What the trial differs in from the defaults of the axes, and how it is measured."""


def sweep(measure=None, **axes):
    grid = GridSpec.model_validate({"depth": 1, "batch": 8, "width": 16} | axes)
    return SweepSpec(name="a", title="b", grid=grid, measure=measure or MeasureSpec())


def test_the_product_is_run_and_the_last_axis_turns_fastest():
    found = trials(sweep(depth=[1, 2], width=[16, 32], dtype=["float32", "float64"]))
    points = [(trial.depth, trial.width, trial.dtype) for trial in found]
    assert points == list(itertools.product((1, 2), (16, 32), ("float32", "float64")))


def test_all_schedules_of_inference_are_one_trial():
    schedules = ["textbook", "lean"]
    found = trials(sweep(depth=[1, 2], mode=["train", "inference"], schedule=schedules))
    assert [(trial.depth, trial.mode, trial.schedule) for trial in found] == [
        (1, "train", "textbook"),
        (1, "train", "lean"),
        (1, "inference", "inference"),
        (2, "train", "textbook"),
        (2, "train", "lean"),
        (2, "inference", "inference"),
    ]


def test_inference_may_name_its_own_schedule():
    (trial,) = trials(sweep(mode="inference", schedule="inference"))
    assert trial.schedule == "inference"


def test_a_trial_says_how_it_is_measured():
    measure = MeasureSpec.model_validate(
        {"witnesses": "kernel", "steps": 7, "timeout": "2 min", "memory_limit": "1 GiB"}
    )
    (trial,) = trials(sweep(measure))
    assert (trial.witnesses, trial.steps, trial.repeats) == (("kernel",), 7, 3)
    assert (trial.timeout_seconds, trial.memory_limit_bytes) == (120.0, 2**30)
    assert (trial.seed, trial.data_source) == (0, "digits")


def test_the_axes_are_in_the_order_of_the_columns():
    assert tuple(TRIAL.axes()) == AXES
    assert TRIAL.axes()["optimizer"] == "sgd"


def test_the_key_is_the_hash_of_the_canonical_json():
    assert TRIAL.to_json() == CANONICAL
    assert TRIAL.key == hashlib.sha256(CANONICAL.encode()).hexdigest()[:16]


def test_equal_numbers_written_otherwise_make_the_same_key():
    (whole,), (fraction,) = trials(sweep(l2=0)), trials(sweep(l2=0.0))
    assert whole.key == fraction.key


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("depth", 3),
        ("mode", "inference"),
        ("l2", 0.5),
        ("bias", False),
        ("seed", 1),
        ("witnesses", ()),
        ("steps", 6),
        ("timeout_seconds", 61.0),
        ("memory_limit_bytes", 2**30),
        ("data_source", "samples.csv"),
    ],
)
def test_whatever_decides_the_result_changes_the_key(field, value):
    assert replace(TRIAL, **{field: value}).key != TRIAL.key


def test_a_trial_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        TRIAL.depth = 3  # type: ignore[misc]


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"witnesses": [], "depht": 1}'])
def test_what_is_no_trial_is_told(text):
    with pytest.raises(DataError, match="is no trial in JSON"):
        Trial.from_json(text)


counts = st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=3, unique=True)


@given(
    depth=counts,
    batch=counts,
    mode=st.sampled_from(["train", "inference", ["train", "inference"]]),
    schedule=st.lists(
        st.sampled_from(["textbook", "lean", "every:2", "sqrt+microbatch:2"]),
        min_size=1,
        unique=True,
    ),
    activation=st.lists(st.sampled_from(ACTIVATIONS), min_size=1, max_size=2, unique=True),
    l2=st.floats(0, 1e6),
    witnesses=st.lists(st.sampled_from(tuple(WITNESSES)), unique=True),
)
def test_trials_have_keys_of_their_own_and_survive_json(witnesses, **axes):
    measure = MeasureSpec(witnesses=tuple(witnesses))
    found = trials(sweep(measure, **axes))
    assert len({trial.key for trial in found}) == len(found)
    assert [Trial.from_json(trial.to_json()) for trial in found] == list(found)
