"""Whether a trace is one: every index in range, every buffer followed from birth to death."""

from typing import TYPE_CHECKING

import numpy as np

from memprop.errors import TraceFormatError
from memprop.terms import CATEGORIES, PHASES
from memprop.traces.events import ALLOCATE, FREE, KINDS, Events

if TYPE_CHECKING:
    from memprop.traces.trace import Trace


def check(trace: "Trace") -> None:
    """Raise TraceFormatError unless ``trace`` is consistent; the message names the event."""
    for variable in trace.variables:
        if variable.category not in CATEGORIES:
            raise TraceFormatError(
                f"{variable.name} has the unknown category {variable.category!r}"
            )
    if trace.phases[: len(PHASES)] != PHASES or len(set(trace.phases)) != len(trace.phases):
        raise TraceFormatError(f"the phases {trace.phases} are not {PHASES} and further names")
    for operator in trace.operators:
        if operator.phase not in trace.phases:
            raise TraceFormatError(f"{operator.name} has the unknown phase {operator.phase!r}")
    events = trace.events
    if not len(events):
        raise TraceFormatError("the trace has no events")
    _check_range("kind", events.kind, 0, len(KINDS))
    _check_range("phase", events.phase, 0, len(trace.phases))
    _check_range("operator", events.operator, -1, len(trace.operators))
    _check_range("variable", events.variable, 0, len(trace.variables))
    _check_range("bytes", events.bytes, 0, None)
    _check_lives(events)


def _check_range(name: str, column: np.ndarray, low: int, high: int | None) -> None:
    wrong = column < low if high is None else (column < low) | (column >= high)
    if wrong.any():
        event = int(np.argmax(wrong))
        raise TraceFormatError(f"event {event} has the impossible {name} {column[event]}")


def _check_lives(events: Events) -> None:
    """Raise at the first event that does not follow from what its variable went through before."""
    order = np.argsort(events.variable, kind="stable")
    kind, variable, storage = (
        column[order] for column in (events.kind, events.variable, events.storage)
    )
    alive = np.zeros(len(order), dtype=bool)
    alive[1:] = (variable[1:] == variable[:-1]) & (kind[:-1] != FREE)
    there = alive.copy()
    there[1:] &= storage[1:] == storage[:-1]
    wrong = np.where(kind == ALLOCATE, alive, ~there)
    if not wrong.any():
        return
    event = int(order[wrong].min())
    if events.kind[event] == ALLOCATE:
        raise TraceFormatError(f"event {event} allocates a variable that is alive already")
    raise TraceFormatError(
        f"event {event} {KINDS[events.kind[event]]}s a variable that is not alive there"
    )
