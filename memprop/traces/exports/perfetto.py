"""Chrome's trace event format, which Perfetto opens: slices for operators, counters for bytes.

The format: Nat Duca and Dan Sinclair, "Trace Event Format" (Google, 2016). A slice is a complete
event ("X"), a counter "C", a name of a process or thread "M", a mark "i"; times are microseconds.
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from memprop.terms import CATEGORIES
from memprop.traces.clock import Clock, clock_of
from memprop.traces.exports.format import Format
from memprop.units import format_bytes

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

_PROCESS: Final = 1
_PHASES: Final = 1
_OPERATORS: Final = 2
_BYTES: Final = 3
_THREADS: Final = {_PHASES: "phases", _OPERATORS: "operators", _BYTES: "live bytes"}


def perfetto(trace: "Trace") -> bytes:
    """The trace as a document of the trace event format."""
    clock = clock_of(trace)
    events = [
        *_names(),
        *_slices(trace, clock, _PHASES),
        *_slices(trace, clock, _OPERATORS),
        *_counters(trace, clock),
        _peak(trace, clock),
    ]
    about = {key: str(value) for key, value in trace.about.items()}
    document = {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {"program": "memprop", "times": clock.source, **about},
    }
    return json.dumps(document, allow_nan=False).encode()


def _event(kind: str, name: str, ts: float, thread: int, **more: Any) -> dict[str, Any]:
    return {"ph": kind, "name": name, "ts": ts, "pid": _PROCESS, "tid": thread, **more}


def _names() -> Iterator[dict[str, Any]]:
    yield _event("M", "process_name", 0, _PHASES, args={"name": "memprop: one training step"})
    for thread, name in _THREADS.items():
        yield _event("M", "thread_name", 0, thread, args={"name": name})
        yield _event("M", "thread_sort_index", 0, thread, args={"sort_index": thread})


def _slices(trace: "Trace", clock: Clock, thread: int) -> Iterator[dict[str, Any]]:
    """A slice for each run of events of one phase, or of one operator in it, back to back."""
    phase, operator = trace.events.phase, trace.events.operator
    new = np.diff(phase, prepend=-1) != 0
    if thread == _OPERATORS:
        new |= np.diff(operator, prepend=-2) != 0
    starts = np.flatnonzero(new).tolist()
    times = [*clock.microseconds[starts].tolist(), clock.end]
    for (first, last), (begin, end) in zip(
        pairwise([*starts, len(phase)]), pairwise(times), strict=True
    ):
        name = trace.phases[phase[first]]
        number = -1 if thread == _PHASES else int(operator[first])
        args = {"phase": name, **_moved(trace, first, last)}
        if number >= 0:
            name = trace.operators[number].name
            args |= _described(trace, number)
        yield _event("X", name, begin, thread, dur=end - begin, cat="memprop", args=args)


def _moved(trace: "Trace", first: int, last: int) -> dict[str, int]:
    moved = trace.live.moved[first:last]
    return {
        "allocated_bytes": int(moved[moved > 0].sum()),
        "freed_bytes": int(-moved[moved < 0].sum()),
        "live_bytes_at_most": int(trace.live.total[first:last].max()),
    }


def _described(trace: "Trace", number: int) -> dict[str, Any]:
    operator = trace.operators[number]
    entries = {"layer": operator.layer, "site": operator.site or None, "flops": operator.flops}
    return {key: value for key, value in entries.items() if value is not None}


def _counters(trace: "Trace", clock: Clock) -> Iterator[dict[str, Any]]:
    """The live bytes, in all and of each category that occurs, wherever they change."""
    by_category, total = trace.live.by_category, trace.live.total
    present = np.flatnonzero(by_category.any(axis=0)).tolist()
    changes = np.flatnonzero(np.diff(by_category, axis=0, prepend=-1).any(axis=1)).tolist()
    for event in changes:
        ts = float(clock.microseconds[event])
        parts = {CATEGORIES[place]: int(by_category[event, place]) for place in present}
        yield _event("C", "live bytes", ts, _BYTES, args={"total": int(total[event])})
        yield _event("C", "live bytes by category", ts, _BYTES, args=parts)


def _peak(trace: "Trace", clock: Clock) -> dict[str, Any]:
    ts = float(clock.microseconds[trace.peak_event])
    name = f"peak {format_bytes(trace.peak)} at {trace.peak_operator}"
    return _event("i", name, ts, _BYTES, s="p", args=trace.peak_by_category())


PERFETTO: Final = Format(name="perfetto", suffix=".perfetto.json", encode=perfetto)
