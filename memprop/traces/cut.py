"""A trace of a whole loop, cut into its steps, and what finished steps have left in it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import numpy as np

from memprop.terms import OUTSIDE, PERSISTENT, PHASES
from memprop.traces.about import About
from memprop.traces.events import ALLOCATE, FREE, READ, Events
from memprop.traces.recorder import Recorder
from memprop.traces.steps import Survivor
from memprop.traces.trace import Trace

_STAYS: Final = PERSISTENT | {"parameter_gradient"}
"""Categories that a loop carries from step to step by design."""

_NUMBER: Final = re.compile(r"#\d+$")
"""What tells names apart in a trace: ``relu``, ``relu#2``."""

_Row = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment in a trace.

    Attributes:
        events: how many events have happened by then.
        nanoseconds: when it is, on the clock of the events.
    """

    events: int
    nanoseconds: int


def cut(trace: Trace, marks: Sequence[Mark]) -> list[Trace]:
    """A trace for each step; ``marks`` are the ends of the steps, in order.

    A step begins with "setup" events for what is alive then. Variables, operators and storages are
    numbered anew in each step, so that two steps in which the same happens are equal. The first
    step begins with the first event of a phase other than "setup"; where there is none, with the
    first operator. A step in which nothing lives has one variable of 0 bytes, called "nothing".
    """
    if not marks:
        return []
    rows = _rows(trace.events)
    moments = [_beginning(trace, marks[0]), *marks]
    return [
        _step(trace, rows, number, start, end)
        for number, (start, end) in enumerate(pairwise(moments))
    ]


def survivors(trace: Trace, marks: Sequence[Mark]) -> Iterator[Survivor]:
    """The buffers that are alive at the end of ``trace`` and were made in a step that is over.

    Not among them is what was there before the first step, and what a loop carries along by design:
    parameters, buffers, optimizer state and gradients of parameters. As long as nothing has been
    made since the last step, its buffers are left out as well: the loop's own variables hold them
    still. A buffer that is written over is as old as the first value in it, and of the category of
    the last one.
    """
    ends = [mark.events for mark in marks]
    if ends and not (trace.events.kind[ends[-1] :] == ALLOCATE).any():
        ends.pop()
    if not ends:
        return
    first_event = _beginning(trace, marks[0]).events
    for maker, newest in _buffers_alive(trace).items():
        born = int(trace.lives.born[maker])
        category = trace.variables[trace.lives.variable[newest]].category
        if first_event <= born < ends[-1] and category not in _STAYS:
            operator = int(trace.events.operator[born])
            yield Survivor(
                step=int(np.searchsorted(ends, born, side="right")),
                bytes=int(trace.events.bytes[born]),
                category=category,
                operator=_plain(trace.operators[operator].name) if operator >= 0 else "",
                module="",
                line=trace.variables[trace.lives.variable[maker]].site,
            )


def _buffers_alive(trace: Trace) -> dict[int, int]:
    """For each buffer that lives at the end: its first life -> its last one."""
    lives = trace.lives
    first = np.flatnonzero(lives.oldest_from == lives.born)
    alive = np.flatnonzero(lives.died == len(trace.events))
    makers = first[np.searchsorted(first, alive, side="right") - 1]
    return dict(zip(makers.tolist(), alive.tolist(), strict=True))


def _beginning(trace: Trace, end: Mark) -> Mark:
    """When the first step begins, which is over at ``end``."""
    events = trace.events
    phased = np.flatnonzero(events.phase[: end.events] != 0)
    begun = phased if len(phased) else np.flatnonzero(events.operator[: end.events] >= 0)
    return Mark(int(begun[0]), int(events.nanoseconds[begun[0]])) if len(begun) else end


def _rows(events: Events) -> list[_Row]:
    columns = (events.kind, events.phase, events.operator, events.variable, events.storage)
    columns = (*columns, events.bytes, events.nanoseconds)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _step(trace: Trace, rows: Sequence[_Row], number: int, start: Mark, end: Mark) -> Trace:
    told = _Told(trace, start.nanoseconds)
    lives = trace.lives
    there = (lives.born < start.events) & (start.events <= lives.died)
    for born in lives.born[there].tolist():
        told.introduce(rows[born])
    for row in rows[start.events : end.events]:
        told.event(row)
    about = About.of(trace.about)
    return told.trace(replace(about, open=None, more={**about.more, "step": number}))


@dataclass
class _Told:
    """One step in the making, and the numbers that things of the whole trace have in it."""

    whole: Trace
    began: int
    recorder: Recorder = field(default_factory=Recorder)
    variables: dict[int, int] = field(default_factory=dict)
    operators: dict[int, int] = field(default_factory=lambda: {-1: -1})
    storages: dict[int, int] = field(default_factory=dict)

    def introduce(self, row: _Row) -> None:
        """What the event ``row`` has allocated is there when the step begins."""
        *_, variable, storage, size, at = row
        told = self._variable(variable), self._storage(storage), size, PHASES[0]
        self.recorder.allocate(*told, at=min(at, 0))

    def event(self, row: _Row) -> None:
        """Tell one event."""
        kind, phase, operator, variable, storage, size, at = row
        tell = {
            ALLOCATE: self.recorder.allocate,
            READ: self.recorder.read,
            FREE: self.recorder.free,
        }
        at = at if at < 0 else max(0, at - self.began)
        told = self._variable(variable), self._storage(storage), size
        name = self.whole.phases[phase]
        tell[kind](*told, _in_step(name), self._operator(operator), at)

    def trace(self, about: About) -> Trace:
        """The trace of the step."""
        if not len(self.recorder):
            nothing = self.recorder.variable("nothing", "workspace", (0,), "uint8", 0)
            self.recorder.allocate(nothing, 0, 0, PHASES[0])
        return self.recorder.trace(about)

    def _variable(self, number: int) -> int:
        if number not in self.variables:
            known = self.whole.variables[number]
            named = _plain(known.name), known.category, known.shape, known.dtype, known.bytes
            told = self.recorder.variable(*named)
            asides = ("site", "layer", "kept", "guessed", "device", "line")
            self.recorder.rename(told, **{aside: getattr(known, aside) for aside in asides})
            self.variables[number] = told
        return self.variables[number]

    def _operator(self, number: int) -> int:
        if number not in self.operators:
            known = self.whole.operators[number]
            self.operators[number] = self.recorder.operator(
                _plain(known.name),
                _in_step(known.phase),
                site=known.site,
                layer=known.layer,
                flops=known.flops,
            )
        return self.operators[number]

    def _storage(self, number: int) -> int:
        return self.storages.setdefault(number, len(self.storages))


def _in_step(phase: str) -> str:
    """The phase of an event within a step: "setup" is over by then."""
    return OUTSIDE if phase == PHASES[0] else phase


def _plain(name: str) -> str:
    """A name without the number that told it apart in the whole trace."""
    return _NUMBER.sub("", name)
