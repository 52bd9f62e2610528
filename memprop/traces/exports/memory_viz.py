"""The snapshot of PyTorch's memory_viz: what https://pytorch.org/memory_viz opens.

The layout is that of ``torch.cuda.memory._snapshot()``. A ledger knows buffers, not addresses: here
every buffer is a segment of its own at an address of its own, so nothing can be read off about
fragmentation, and what the page calls reserved is what is allocated.
"""

import pickle
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from memprop.traces.events import TracedOperator, TracedVariable
from memprop.traces.exports.format import Format

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

_FIRST_ADDRESS: Final = 1 << 20
_ALIGNMENT: Final = 512
_PROTOCOL: Final = 4
"""The page reads the protocols 2 to 4."""
_SITE: Final = re.compile(r"(.+):(\d+)")


def memory_viz(trace: "Trace") -> bytes:
    """The trace as a pickled snapshot, of lists, dicts, strings and integers alone."""
    living: dict[int, dict[str, Any]] = {}
    actions = list(_actions(trace, living))
    snapshot = {
        "segments": [_segment(action) for action in living.values()],
        "device_traces": [[*actions, _END]],
        "memprop": {sys.intern(key): sys.intern(str(value)) for key, value in trace.about.items()},
    }
    return pickle.dumps(snapshot, protocol=_PROTOCOL)


_END: Final = {
    "action": "snapshot",
    "addr": 0,
    "size": 0,
    "stream": 0,
    "frames": [],
    # The page adds this category itself where it is missing, and a slip of the pen there makes it
    # fail (snapshot.categores, in MemoryViz.js).
    "category": "unknown",
}


def _actions(trace: "Trace", living: dict[int, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What happens to the buffers, in order; ``living`` is what is there at the end."""
    address = _FIRST_ADDRESS
    columns = (trace.live.moved, trace.events.storage, trace.events.nanoseconds)
    for event, (moved, storage, nanoseconds) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        time = {} if nanoseconds < 0 else {"time_us": nanoseconds // 1000}
        if moved > 0:
            living[storage] = _allocation(trace, event, address, moved)
            address += -(-moved // _ALIGNMENT) * _ALIGNMENT
            yield from _each(living[storage], ("segment_alloc", "alloc"), time)
        elif moved < 0:
            ends = ("free_requested", "free_completed", "segment_free")
            yield from _each(living.pop(storage), ends, time)


def _each(
    buffer: dict[str, Any], actions: tuple[str, ...], time: dict[str, int]
) -> Iterator[dict[str, Any]]:
    return ({"action": action, **buffer, **time} for action in actions)


def _allocation(trace: "Trace", event: int, address: int, size: int) -> dict[str, Any]:
    variable = trace.variables[trace.events.variable[event]]
    number = int(trace.events.operator[event])
    operator = trace.operators[number] if number >= 0 else None
    phase = trace.phases[trace.events.phase[event]]
    return {
        "addr": address,
        "size": size,
        "stream": 0,
        "frames": _frames(variable, operator, phase),
        "category": sys.intern(variable.category),
    }


def _frames(
    variable: TracedVariable, operator: TracedOperator | None, phase: str
) -> list[dict[str, Any]]:
    """The stack that the page shows, innermost first: variable, operator, phase."""
    shape = "x".join(map(str, variable.shape))
    frames = [_frame(f"{variable.name} ({shape} {variable.dtype})", variable.site)]
    if operator is not None:
        frames.append(_frame(operator.name, operator.site))
    if variable.line:
        frames.append(_frame(variable.line, variable.line))
    return [*frames, _frame(phase, "")]


def _frame(name: str, site: str) -> dict[str, Any]:
    match = _SITE.fullmatch(site)
    file, line = (match[1], int(match[2])) if match else (site, 0)
    # Pickle writes an object once: equal strings are made one, so that equal traces, of whatever
    # origin, give equal files.
    return {"name": sys.intern(name), "filename": sys.intern(file), "line": line}


def _segment(allocation: dict[str, Any]) -> dict[str, Any]:
    """A segment that one block fills."""
    address, size, frames = (allocation[key] for key in ("addr", "size", "frames"))
    block = {
        "address": address,
        "size": size,
        "requested_size": size,
        "state": "active_allocated",
        "frames": frames,
    }
    return {
        "device": 0,
        "address": address,
        "total_size": size,
        "allocated_size": size,
        "active_size": size,
        "requested_size": size,
        "stream": 0,
        "segment_type": "large",
        "frames": frames,
        "blocks": [block],
    }


MEMORY_VIZ: Final = Format(name="memory_viz", suffix=".pickle", encode=memory_viz)
