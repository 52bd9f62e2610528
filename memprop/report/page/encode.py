"""A trace as columns of integers, small enough for a page.

What grows along the step is written as differences, what stays the same for long as runs.
``decode.js`` reads it.
"""

from typing import Any

import numpy as np

from memprop.terms import CATEGORIES
from memprop.traces.clock import recorded
from memprop.traces.intermediates import Life, find, lives
from memprop.traces.trace import Trace


def encode(trace: Trace) -> dict[str, Any]:
    """``trace`` as JSON can hold it.

    Returns:
        ``events``, how many; ``peak`` (bytes), ``peak_event``, ``peak_operator``; ``phases`` and
        ``operators`` by name; ``phase`` and ``operator`` of the events as runs; ``changes`` of
        the live bytes; ``times`` of the events, if the step was run; ``lives`` with their
        ``reads``; ``variables`` in columns.
    """
    found = lives(trace)
    return {
        "events": len(trace.events),
        "peak": trace.peak,
        "peak_event": trace.peak_event,
        "peak_operator": trace.peak_operator,
        "phases": list(trace.phases),
        "operators": [operator.name for operator in trace.operators],
        "phase": _runs(trace.events.phase),
        "operator": _runs(trace.events.operator),
        "changes": _changes(trace),
        "times": _times(trace),
        "lives": _lives(trace, found),
        "reads": _reads(found),
        "variables": _variables(trace),
    }


def _runs(column: np.ndarray) -> dict[str, list[int]]:
    """A column as values and how often each comes in a row."""
    starts = np.flatnonzero(np.diff(column, prepend=column[0] - 1))
    lengths = np.diff(starts, append=len(column))
    return {"value": column[starts].tolist(), "length": lengths.tolist()}


def _changes(trace: Trace) -> dict[str, list[int]]:
    """Every change of the live bytes of a category; ``gap`` in events from the one before."""
    changes = np.diff(trace.live.by_category, axis=0, prepend=0)
    event, category = np.nonzero(changes)
    return {
        "gap": np.diff(event, prepend=0).tolist(),
        "category": category.tolist(),
        "bytes": changes[event, category].tolist(),
    }


def _times(trace: Trace) -> dict[str, list[int]] | None:
    """Every step of the clock; ``gap`` in events from the one before. ``None`` if there is none."""
    times = recorded(trace)
    if times is None or times[0] == times[-1]:
        return None
    steps = np.diff(times, prepend=0)
    event = np.flatnonzero(steps)
    return {"gap": np.diff(event, prepend=0).tolist(), "nanoseconds": steps[event].tolist()}


def _lives(trace: Trace, found: list[Life]) -> dict[str, list[int]]:
    """Lives in the order of birth; ``length`` in events, -1 where a life outlasts the step."""
    born = np.array([life.born for life in found], dtype=np.int64)
    return {
        "variable": [life.variable for life in found],
        "gap": np.diff(born, prepend=0).tolist(),
        "length": [-1 if life.freed is None else life.freed - life.born for life in found],
        "storage": trace.events.storage[born].tolist(),
        "reads": [len(life.reads) for life in found],
    }


def _reads(found: list[Life]) -> list[int]:
    """The reads of all lives, one after the other: twice the gap in events, 1 more for a reuse.

    The gap is from the read before, that of the first from the birth.
    """
    coded = []
    for life in found:
        before, reused = life.born, set(life.reused_at)
        for event, _, _ in life.reads:
            coded.append(2 * (event - before) + (event in reused))
            before = event
    return coded


def _variables(trace: Trace) -> dict[str, list[Any]]:
    """The variables in columns; ``cached`` is 1 for a cached intermediate, 2 for one recomputed."""
    cached = {found.variable: 1 + found.recomputed for found in find(trace)}
    return {
        "name": [variable.name for variable in trace.variables],
        "category": [CATEGORIES.index(variable.category) for variable in trace.variables],
        "layer": [variable.layer for variable in trace.variables],
        "shape": ["x".join(map(str, variable.shape)) for variable in trace.variables],
        "dtype": [variable.dtype for variable in trace.variables],
        "bytes": [variable.bytes for variable in trace.variables],
        "site": [variable.site for variable in trace.variables],
        "line": [variable.line for variable in trace.variables],
        "cached": [cached.get(variable.name, 0) for variable in trace.variables],
    }
