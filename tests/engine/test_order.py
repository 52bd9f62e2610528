"""The columns of events that runs and predictions share."""

import gc

import numpy as np
import pytest
from cases import model

import memprop as mp
from memprop.engine.gc_paused import gc_paused
from memprop.engine.program import compile_schedule
from memprop.traces.events import ALLOCATE, FREE, READ

SCHEDULES = ["textbook", "lean", "sqrt", "lean+microbatch:2", "offload:scratch"]


@pytest.mark.parametrize("optimizer", [None, "adam"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_instructions_do_what_the_columns_say(schedule, optimizer):
    program = compile_schedule(mp.schedule(model(4, l2=0.1), 8, schedule, optimizer=optimizer))
    done = [
        event
        for place, step in enumerate(program.instructions)
        for event in (
            *(
                (ALLOCATE, birth.variable, birth.storage, birth.over, place)
                for birth in step.births
            ),
            *((READ, *use, -1, place) for use in step.reads),
            *((FREE, *use, -1, place) for use in step.deaths),
        )
    ]
    order = program.order
    written = (order.kind, order.variable, order.storage, order.over, order.place)
    assert done == list(zip(*(column.tolist() for column in written), strict=True))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_instructions_compute_what_the_schedule_says(schedule):
    made = mp.schedule(model(4), 8, schedule)
    graph, program = made.graph, compile_schedule(made)
    names = [variable.name for variable in graph.variables]
    computed = [step for step in program.instructions if step.kernel is not None]
    assert len(computed) == len(list(made.computes()))
    for step, action in zip(computed, made.computes(), strict=True):
        operator = graph.operators_by_name[action.operator]
        assert graph.operators[step.operator] is operator
        handed = [names[variable] for variable in step.arguments]
        assert handed == [*operator.inputs, *operator.outputs, *operator.workspace]
        assert step.attributes == dict(operator.attributes)


def test_equal_models_share_one_graph_and_one_order():
    one, two = (mp.MLP([5, 6, 7], seed=3) for _ in range(2))
    assert one.graph() is two.graph()
    assert mp.MLP([5, 6, 8], seed=3).graph() != one.graph()
    first, second = mp.simulate(one, 4), mp.simulate(two, 8)
    assert first.events.storage is second.events.storage
    assert first.peak < second.peak


def test_what_traces_share_cannot_be_written_to():
    trace = mp.simulate(model(2), 4)
    with pytest.raises(ValueError, match="read-only"):
        trace.events.kind[0] = FREE


def test_a_schedule_with_other_actions_has_another_order():
    """Copies of a schedule share what was worked out; its variations must not."""
    schedule = mp.schedule(model(2), 4)
    longer = mp.Schedule(name="mine", graph=schedule.graph, actions=(*schedule.actions,))
    assert np.array_equal(
        compile_schedule(schedule).order.kind, compile_schedule(longer).order.kind
    )
    shorter = mp.Schedule(name="mine", graph=schedule.graph, actions=schedule.actions[:3])
    assert len(compile_schedule(shorter).order.kind) < len(compile_schedule(longer).order.kind)
    assert shorter.flops_at(4) < longer.flops_at(4) == schedule.flops


@gc_paused()
def fail():
    assert not gc.isenabled()
    raise ZeroDivisionError


def test_garbage_is_collected_again_afterwards():
    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.isenabled()


def test_garbage_stays_where_the_user_wants_it():
    gc.disable()
    try:
        mp.simulate(model(2), 4)
        assert not gc.isenabled()
    finally:
        gc.enable()
