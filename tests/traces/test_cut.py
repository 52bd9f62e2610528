"""A trace cut into steps: each step is the same stretch of the whole, and what is left is named."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from memprop.terms import CATEGORIES
from memprop.traces.cut import Mark, cut, survivors
from memprop.traces.recorder import Recorder
from memprop.traces.steps import StepSummary, growth_table, steps_table

KINDS = ("make", "write_over", "share", "free", "read", "mark")


class Machine:
    """Buffers as lists of the values in them, beside a recorder that is told the same."""

    def __init__(self):
        self.told, self.buffers, self.marks, self.made = Recorder(), [], [], 0
        self.add("setup", 5)

    def add(self, phase, size):
        operator = -1 if phase == "setup" else self.told.operator("make", phase)
        self.buffers.append({"number": self.made, "size": size, "step": len(self.marks)})
        self.made += 1
        self.put(self.buffers[-1], phase, operator)

    def put(self, buffer, phase, operator=-1):
        value = self.told.variable("v", "activation", (buffer["size"],), "int8", buffer["size"])
        buffer.setdefault("values", []).append(value)
        self.say("allocate", buffer, value, phase, operator)

    def say(self, kind, buffer, value, phase, operator=-1):
        tell = getattr(self.told, kind)
        tell(value, buffer["number"], buffer["size"], phase, operator, len(self.told))

    def free(self, buffer, place):
        self.say("free", buffer, buffer["values"].pop(place), "backward")
        if not buffer["values"]:
            self.buffers.remove(buffer)

    def do(self, kind, size):
        if kind == "make":
            self.add("forward", size)
        elif kind == "mark":
            self.marks.append(Mark(len(self.told), len(self.told)))
        elif self.buffers:
            buffer = self.buffers[size % len(self.buffers)]
            if kind == "read":
                self.say("read", buffer, buffer["values"][-1], "backward")
            if kind in ("write_over", "share"):
                self.put(buffer, "backward")
            if kind == "free" or kind == "write_over":
                self.free(buffer, 0)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 30)), max_size=60))
def test_a_step_is_a_stretch_of_the_whole(moves):
    machine = Machine()
    machine.add("forward", 3)
    for kind, size in moves:
        machine.do(kind, size)
    whole = machine.told.trace()
    steps = cut(whole, machine.marks)
    ends = [mark.events for mark in machine.marks]
    assert len(steps) == len(ends)
    for begin, end, step in zip([1, *ends], ends, steps, strict=False):
        before = whole.live.by_category[begin - 1]
        stretch = np.vstack([before, whole.live.by_category[begin:end]])
        told = np.vstack([np.zeros((1, len(CATEGORIES))), step.live.by_category])
        assert (told[-len(stretch) :] == stretch).all()
        assert step.peak == stretch.sum(axis=1).max()
        assert (step.events.phase[len(step.events) - (end - begin) :] > 0).all()
    found = list(survivors(whole, machine.marks))
    made_since = ends and (whole.events.kind[ends[-1] :] == 0).any()
    over = len(ends) if made_since else len(ends) - 1
    expected = [b for b in machine.buffers if b["number"] > 0 and b["step"] < over]
    assert sorted((s.step, s.bytes) for s in found) == sorted(
        (b["step"], b["size"]) for b in expected
    )


def loop(steps=3, phase="forward"):
    """A loop that keeps the second of the two values that each step makes."""
    told, marks = Recorder(), []
    told.allocate(told.variable("x", "input", (8,), "int8", 8), 0, 8, "setup")
    for number in range(steps):
        for place, name in enumerate(("z", "h")):
            value = told.variable(name, "activation", (4,), "int8", 4, site=f"net.py:{place}")
            operator = told.operator(name, phase, flops=4)
            storage = 1 + 2 * number + place
            told.allocate(value, storage, 4, phase, operator, 10 * len(told))
            if name == "z":
                gone = value, storage
        told.free(*gone, 4, phase, operator, 10 * len(told))
        marks.append(Mark(len(told), 10 * len(told)))
    return told.trace({"batch": 4}), marks


def test_names_begin_anew_in_each_step():
    trace, marks = loop()
    for number, step in enumerate(cut(trace, marks)):
        names = [variable.name for variable in step.variables]
        assert names == ["x", *["h", "h#2"][:number], "z", f"h#{number + 1}".replace("#1", "")]
        assert [operator.name for operator in step.operators] == ["z", "h"]
        assert [operator.flops for operator in step.operators] == [4, 4]
        assert dict(step.about) == {"batch": 4, "step": number}
        assert step.events.nanoseconds[-3:].tolist() == [0, 10, 20]


def test_steps_in_which_the_same_happens_are_equal():
    told, marks = Recorder(), []
    told.allocate(told.variable("x", "input", (8,), "int8", 8), 7, 8, "setup")
    for number in range(3):
        value = told.variable("h", "activation", (4,), "int8", 4)
        told.allocate(value, 8 + number, 4, "forward", told.operator("tanh", "forward"))
        told.free(value, 8 + number, 4, "backward")
        marks.append(Mark(len(told), -1))
    first, second, third = cut(told.trace(), marks)
    assert first == second == third


def test_without_phases_a_loop_begins_with_its_first_operator():
    for phase in ("forward", "setup"):
        trace, marks = loop(phase=phase)
        first, *_ = cut(trace, marks)
        assert (first.events.phase == 0).tolist() == [True, False, False, False]
        table = growth_table(survivors(trace, marks))
        assert table[["bytes", "count", "steps", "first_step", "line"]].values.tolist() == [
            [8, 2, 2, 0, "net.py:1"]
        ]


def test_the_figures_of_the_steps_are_those_by_hand():
    trace, marks = loop()
    summaries = [StepSummary.of(step, n) for n, step in enumerate(cut(trace, marks))]
    table = steps_table(summaries)
    assert table["peak_bytes"].tolist() == [16, 20, 24]
    assert table["live_bytes"].tolist() == [12, 16, 20]
    assert table["growth_bytes"].tolist() == [4, 4, 4]
    assert table["peak_operator"].tolist() == ["h", "h", "h"]


def test_what_a_loop_carries_by_design_is_no_growth():
    trace, marks = loop()
    for category in ("parameter", "buffer", "optimizer_state", "parameter_gradient"):
        kept = tuple(replace(variable, category=category) for variable in trace.variables)
        assert not list(survivors(replace(trace, variables=kept), marks))


def test_a_step_in_which_nothing_lives_says_so():
    told = Recorder()
    value = told.variable("v", "activation", (4,), "int8", 4)
    told.allocate(value, 0, 4, "forward")
    told.free(value, 0, 4, "forward")
    marks = [Mark(2, 0), Mark(2, 0)]
    empty = cut(told.trace(), marks)[1]
    assert [variable.name for variable in empty.variables] == ["nothing"]
    assert (empty.peak, len(empty.events)) == (0, 1)
    assert cut(told.trace(), []) == list(survivors(told.trace(), [])) == []
