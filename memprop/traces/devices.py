"""One trace for each device that a step uses."""

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from memprop.traces.events import READ, Events
from memprop.traces.requests import BEFORE, Requests
from memprop.units import format_bytes

if TYPE_CHECKING:
    from memprop.traces.trace import Trace


DISK: Final = "disk"
"""The device of what a schedule stores in files; its bytes are none of the memory's."""


def by_device(trace: "Trace") -> "Trace":
    """A trace of what lives on its device, of one whose variables are on others as well.

    It has the traces of the others.
    """
    there = dict.fromkeys(variable.device for variable in trace.variables)
    if trace.device not in there or len(there) == 1:
        return trace
    on = {device: _on(trace, device) for device in there}
    main = on.pop(trace.device)
    return replace(main, elsewhere=MappingProxyType(on))


def _on(trace: "Trace", device: str) -> "Trace":
    """The same step, as far as one device goes."""
    kept = np.array([variable.device == device for variable in trace.variables], dtype=bool)
    number = np.cumsum(kept) - 1
    events = np.flatnonzero(kept[trace.events.variable])
    columns = {name: column[events] for name, column in vars(trace.events).items()}
    columns["variable"] = number[columns["variable"]]
    is_main = device == trace.device
    return replace(
        trace,
        events=Events(**columns),
        variables=tuple(v for v in trace.variables if v.device == device),
        about={**trace.about, "device": device},
        requests=_at(trace.requests, events) if is_main else None,
        outputs=trace.outputs if is_main else None,
    )


def loads(trace: "Trace") -> frozenset[int]:
    """The operators that read what lies on disk, and so bring it back into memory."""
    if DISK not in trace.elsewhere:
        return frozenset()
    events = trace.elsewhere[DISK].events
    return frozenset(events.operator[events.kind == READ].tolist())


def rows_at_peaks(trace: "Trace") -> list[tuple[str, str, str, str]]:
    """For each device of a step its name, its peak in units and in bytes, and where that is."""
    found = (trace.on(device) for device in trace.devices)
    return [
        (one.device, format_bytes(one.peak), f"{one.peak:,}", one.peak_operator) for one in found
    ]


def _at(requests: Requests | None, events: np.ndarray) -> Requests | None:
    """Requests with the numbers that events have when only some of them are left."""
    if requests is None:
        return None
    latest = np.searchsorted(events, requests.event, side="right") - 1
    return replace(requests, event=np.where(requests.event == BEFORE, BEFORE, latest))
