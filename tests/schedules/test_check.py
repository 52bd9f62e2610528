"""The reference machine accepts what can be run and names what cannot."""

from dataclasses import replace

import pytest
from cases import model
from hypothesis import given, settings
from hypothesis import strategies as st

from memprop.errors import DeadReadError, DoubleFreeError, LeakError, ScheduleError
from memprop.graph.operators.sgd import SGD
from memprop.schedules.actions import Compute, Free
from memprop.schedules.check import check
from memprop.schedules.inference import inference
from memprop.schedules.lean import lean
from memprop.schedules.textbook import textbook

LEAN = lean(model(2).graph())
TEXTBOOK = textbook(model(2).graph())
TRAINED = lean(model(2).graph(), SGD())


def without(schedule, unwanted):
    actions = tuple(action for action in schedule.actions if action != unwanted)
    assert len(actions) == len(schedule.actions) - 1
    return replace(schedule, actions=actions)


def with_action(schedule, action, place):
    actions = [*schedule.actions]
    actions.insert(place, action)
    return replace(schedule, actions=tuple(actions))


def place_of(schedule, operator):
    return next(
        place
        for place, action in enumerate(schedule.actions)
        if isinstance(action, Compute) and action.operator == operator
    )


def test_a_free_that_is_left_out_is_a_leak():
    with pytest.raises(LeakError, match=r"^dh1, made by linear_2.dh1, is still live"):
        check(without(LEAN, Free(variable="dh1")))
    with pytest.raises(LeakError, match="x, made by the caller"):
        check(without(LEAN, Free(variable="x")))


def test_freeing_twice_is_refused():
    with pytest.raises(DoubleFreeError, match="dh1 is freed, but it is not live"):
        check(with_action(LEAN, Free(variable="dh1"), len(LEAN.actions)))


def test_a_read_after_the_free_names_operator_and_variable():
    early = with_action(LEAN, Free(variable="h1"), place_of(LEAN, "linear_2") + 1)
    with pytest.raises(DeadReadError, match=r"linear_2.dW2 reads h1, which is not live"):
        check(early)


def test_writing_over_what_is_still_needed_is_refused():
    place = place_of(TEXTBOOK, "relu_1")
    over = replace(TEXTBOOK.actions[place], into=(("h1", "z1"),))
    actions = (*TEXTBOOK.actions[:place], over, *TEXTBOOK.actions[place + 1 :])
    with pytest.raises(DeadReadError, match=r"relu_1.dz1 reads z1"):
        check(replace(TEXTBOOK, actions=actions))


def test_writing_over_what_the_kernel_still_reads_is_refused():
    place = place_of(LEAN, "linear_2")
    over = replace(LEAN.actions[place], into=(("z2", "h1"),))
    actions = (*LEAN.actions[:place], over, *LEAN.actions[place + 1 :])
    with pytest.raises(ScheduleError, match="linear_2 cannot write z2 over h1"):
        check(replace(LEAN, actions=actions))


def with_into(schedule, operator, into):
    place = place_of(schedule, operator)
    over = replace(schedule.actions[place], into=into)
    return replace(
        schedule, actions=(*schedule.actions[:place], over, *schedule.actions[place + 1 :])
    )


def test_two_results_cannot_lie_over_one_operand_nor_one_over_two():
    with pytest.raises(ScheduleError, match="relu_1 writes two variables over one"):
        check(with_into(LEAN, "relu_1", (("h1", "z1"), ("h1", "z1"))))
    skipping = lean(model(2, residual=True).graph())
    with pytest.raises(ScheduleError, match="add_2 writes one variable over two"):
        check(with_into(skipping, "add_2", (("h2", "a2"), ("h2", "h1"))))


def test_what_outlives_the_step_is_not_written_over():
    schedule = lean(model(2, l2=0.1, residual=True).graph())
    kept = replace(schedule.graph, outputs=(*schedule.graph.outputs, "a2"))
    with pytest.raises(ScheduleError, match="add_2 overwrites a2, which outlives the step"):
        check(with_into(replace(schedule, graph=kept), "add_2", (("h2", "a2"),)))


def test_an_update_must_lie_over_its_parameter():
    place = place_of(TRAINED, "sgd.W1")
    apart = replace(TRAINED.actions[place], into=())
    actions = (*TRAINED.actions[:place], apart, *TRAINED.actions[place + 1 :])
    with pytest.raises(ScheduleError, match=r"sgd\.W1 must write W1' over W1"):
        check(replace(TRAINED, actions=actions))


def test_outputs_and_parameters_cannot_be_freed():
    with pytest.raises(ScheduleError, match="the output dW1 is not live at the end"):
        check(with_action(LEAN, Free(variable="dW1"), len(LEAN.actions)))
    with pytest.raises(ScheduleError, match="W1 outlives the step"):
        check(with_action(LEAN, Free(variable="W1"), len(LEAN.actions)))


def test_unknown_names_are_refused():
    with pytest.raises(ScheduleError, match="no operator 'linear_9'"):
        check(with_action(LEAN, Compute(operator="linear_9"), 0))
    with pytest.raises(ScheduleError, match="no variable 'h9'"):
        check(with_action(LEAN, Free(variable="h9"), 0))


def test_computing_what_is_live_is_refused_and_recomputing_what_is_not_is_legal():
    first = TEXTBOOK.actions[0]
    with pytest.raises(ScheduleError, match="linear_1 computes z1, which is still live"):
        check(with_action(TEXTBOOK, first, 1))
    again = with_action(TEXTBOOK, Free(variable="z1"), place_of(TEXTBOOK, "relu_1") + 1)
    again = with_action(again, first, place_of(again, "relu_1.dz1"))
    check(again)
    assert again.recomputed_flops_at(7) == TEXTBOOK.graph.flops(TEXTBOOK.graph.operators[0]).at(7)
    assert again.flops_at(7) == TEXTBOOK.flops_at(7) + again.recomputed_flops_at(7)


def test_inference_keeps_nothing_to_train_with():
    with pytest.raises(ScheduleError, match="mode='inference'"):
        inference(model(2).graph("train"))


def is_legal(schedule):
    """Liveness, told again: what is live when, by the graph's inputs and outputs alone."""
    graph, live = schedule.graph, {v.name for v in schedule.graph.sources}
    for action in schedule.actions:
        if isinstance(action, Free):
            if action.variable not in live or action.variable[0] in "Wb":
                return False
            live -= {action.variable}
            continue
        operator = next(op for op in graph.operators if op.name == action.operator)
        if not live.issuperset(operator.inputs) or live.intersection(operator.outputs):
            return False
        live = (live - {operand for _, operand in action.into}) | {*operator.outputs}
    parameters = {v.name for v in graph.sources if v.category == "parameter"}
    return live == parameters | {*graph.outputs}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data(), schedule=st.sampled_from([LEAN, TEXTBOOK]))
def test_a_changed_schedule_is_refused_unless_it_is_still_legal(data, schedule):
    actions = [*schedule.actions]
    place = data.draw(st.integers(0, len(actions) - 1))
    change = data.draw(st.sampled_from(["drop", "double", "move"]))
    action = actions[place] if change == "double" else actions.pop(place)
    if change != "drop":
        actions.insert(data.draw(st.integers(0, len(actions))), action)
    changed = replace(schedule, actions=tuple(actions))
    if is_legal(changed):
        check(changed)
    else:
        with pytest.raises(ScheduleError):
            check(changed)
