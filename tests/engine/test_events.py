"""Prediction and run against an order of events that shares no code with the engine's."""

from itertools import accumulate, count

import pytest
from cases import ACTIVATIONS, BLOCKS, DTYPES, LOSSES, OPTIMIZERS, data, model
from event_oracle import Event, live, tell
from hypothesis import given, settings
from hypothesis import strategies as st

import memprop as mp
from memprop.engine import run
from memprop.engine.options import StepOptions
from memprop.engine.prepare import schedule_for
from memprop.errors import InfeasibleBudget
from memprop.schedules.actions import Load, Store
from memprop.schedules.names import written
from memprop.terms import CATEGORIES, UPDATES
from memprop.traces.events import KINDS

BATCH = 6

NAMES = {
    "textbook": ["textbook"],
    "lean": ["lean"],
    "every:k": ["every:1", "every:2"],
    "sqrt": ["sqrt", "sqrt+microbatch:2"],
    "selective": ["selective", "selective+microbatch:3"],
    "revolve:c": ["revolve:1", "revolve:2"],
    "budget:BYTES": ["budget:100%", "budget:LEAST", "budget:LEAST+microbatch:2"],
    "offload:DIR": ["offload:scratch", "offload:scratch+microbatch:2"],
    "inference": ["inference"],
    "microbatch:m": ["microbatch:2", "microbatch:6"],
}
"""Schedules of every strategy that has a name; LEAST stands for the smallest budget there is."""

EVERY_NAME = [name for names in NAMES.values() for name in names]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Where what is stored on disk goes."""
    monkeypatch.chdir(tmp_path)


def test_every_strategy_is_held_against_the_oracle():
    assert set(NAMES) == set(written())


def told_by(trace):
    """The events of a trace by names, buffers counted in the order of their first use."""
    numbers, buffers = count(), {}
    events = trace.events
    columns = (events.kind, events.phase, events.operator, events.variable, events.storage)
    found = []
    for kind, phase, operator, variable, storage, size in zip(
        *(column.tolist() for column in (*columns, events.bytes)), strict=True
    ):
        if storage not in buffers:
            buffers[storage] = next(numbers)
        found.append(
            Event(
                KINDS[kind],
                trace.phases[phase],
                trace.operators[operator].name if operator >= 0 else None,
                trace.variables[variable].name,
                buffers[storage],
                size,
                trace.device,
            )
        )
    return found


def check_events(mlp, name, allocator, optimizer=None, update="at_end"):
    """Prediction and run tell what the oracle tells; the peak is what the oracle adds up."""
    training = name != "inference"
    how = {"schedule": name, "mode": "train" if training else "inference"}
    if training:
        how |= {"optimizer": optimizer, "update": update}
    x, y = data(mlp, BATCH)
    how["schedule"] = name.replace("LEAST", str(least_budget(mlp, how)))
    schedule = schedule_for(mlp, StepOptions(**how), BATCH)
    expected = tell(schedule, BATCH).events
    predicted = mp.simulate(mlp, BATCH, **how)
    ran = mp.trace(mlp, x, y if training else None, allocator=allocator, **how)
    assert predicted.devices == ran.devices
    assert set(predicted.devices) == {event.device for event in expected}
    for device in predicted.devices:
        there = [event for event in expected if event.device == device]
        assert told_by(predicted.on(device)) == told_by(ran.on(device)) == there
        check_account(predicted.on(device), there, schedule)
    assert predicted.peak == schedule.peak
    assert schedule.disk_peak == ("disk" in ran.devices and ran.on("disk").peak)


def check_account(predicted, expected, schedule):
    category_of = {variable.name: variable.category for variable in schedule.graph.variables}
    accounts = live(expected, category_of)
    totals = [sum(account.values()) for account in accounts]
    assert predicted.live.total.tolist() == totals
    assert predicted.peak == max(totals)
    at_peak = accounts[totals.index(max(totals))]
    assert predicted.peak_by_category() == {name: at_peak.get(name, 0) for name in CATEGORIES}


def least_budget(mlp, how):
    """The smallest budget in bytes, as the refusal of one byte names it."""
    if "LEAST" not in how["schedule"]:
        return None
    one_byte = StepOptions(**{**how, "schedule": how["schedule"].replace("LEAST", "1")})
    with pytest.raises(InfeasibleBudget) as refused:
        schedule_for(mlp, one_byte, BATCH)
    return refused.value.smallest


def may_update(name, optimizer):
    """When parameters may be updated; the rest is refused."""
    refused = optimizer is None or "microbatch" in name or name in ("textbook", "inference")
    return UPDATES[:1] if refused else UPDATES


CASES = [
    (name, blocks)
    for name in EVERY_NAME
    for blocks in ("plain", *BLOCKS)
    if not name.startswith("budget") or blocks in ("plain", "all")  # planning takes time
]


@pytest.mark.parametrize(("name", "blocks"), CASES)
def test_events_are_those_of_the_oracle(name, blocks):
    depth = 2 if name.startswith("budget") else 3
    mlp = model(depth, l2=0.1, **BLOCKS.get(blocks, {}))
    for update in may_update(name, "adam"):
        check_events(mlp, name, "heap", "adam", update)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    choice=st.data(),
    depth=st.integers(1, 3),
    width=st.integers(1, 5),
    activation=st.sampled_from(ACTIVATIONS),
    loss=st.sampled_from(LOSSES),
    dtype=st.sampled_from(DTYPES),
    bias=st.booleans(),
    l2=st.sampled_from([0.0, 0.1]),
    blocks=st.sampled_from(["plain", *BLOCKS]),
    name=st.sampled_from(EVERY_NAME),
    optimizer=st.sampled_from([None, *OPTIMIZERS]),
    allocator=st.sampled_from(["heap", "arena"]),
)
def test_events_of_any_step_are_those_of_the_oracle(
    choice, depth, width, blocks, name, optimizer, allocator, **options
):
    mlp = model(depth, width, inputs=width, **options, **BLOCKS.get(blocks, {}))
    update = choice.draw(st.sampled_from(may_update(name, optimizer)))
    check_events(mlp, name, allocator, optimizer, update)


# Times


def has_calls(schedule, place):
    """Whether an instruction calls anything: neither a free does, nor a result that stays."""
    if place == 0:
        return True
    action = schedule.actions[place - 1]
    operators = {operator.name: operator for operator in schedule.graph.operators}
    if isinstance(action, Store | Load):
        return True
    named = getattr(action, "operator", None)
    return named is not None and not (operators[named].rule == "identity" and action.into)


def times(schedule, device, ticks):
    """Of each event on a device its time, where the n-th instruction with calls ends at tick n.

    Births are stamped at the begin of their instruction, everything else at its end.
    """
    ends = list(accumulate(int(ticks(place)) for place in range(len(schedule.actions) + 1)))
    begins = [0, *ends]
    told = tell(schedule, BATCH)
    return [
        (begins if event.kind == "allocate" else ends)[place]
        for event, place in zip(told.events, told.instructions, strict=True)
        if event.device == device
    ]


@pytest.mark.parametrize("allocator", ["heap", "arena"])
@pytest.mark.parametrize("activation", ["relu", "identity"])
@pytest.mark.parametrize(
    "name", ["textbook", "lean", "sqrt", "lean+microbatch:2", "offload:scratch"]
)
def test_births_are_stamped_at_the_begin_and_the_rest_at_the_end(
    name, activation, allocator, monkeypatch
):
    mlp = model(3, activation=activation)
    step = mp.Step(mlp, BATCH, name, optimizer="adam", allocator=allocator)
    clock = count(start=1000)
    monkeypatch.setattr(run.time, "perf_counter_ns", lambda: next(clock))
    step(*data(mlp, BATCH))
    monkeypatch.undo()
    schedule, trace = step.schedule, step.trace
    for device in trace.devices:
        found = trace.on(device).events.nanoseconds.tolist()
        assert found == times(
            schedule, device, lambda place: allocator == "heap" or has_calls(schedule, place)
        )


def test_a_prediction_has_no_times():
    assert set(mp.simulate(model(2), BATCH).events.nanoseconds.tolist()) == {-1}
