"""One trace for each device that a step uses."""

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from memprop.traces.events import Events
from memprop.traces.requests import BEFORE, Requests

if TYPE_CHECKING:
    from memprop.traces.trace import Trace


def by_device(trace: "Trace", main: str) -> "Trace":
    """A trace of what lives on one device, which has the traces of the others.

    Args:
        trace: whose variables are on several devices.
        main: the one that the step runs on.
    """
    there = dict.fromkeys(variable.device for variable in trace.variables)
    others = [device for device in there if device != main]
    if not others or main not in there:
        return trace
    elsewhere = {device: _on(trace, device) for device in others}
    return replace(_on(trace, main), elsewhere=MappingProxyType(elsewhere))


def _on(trace: "Trace", device: str) -> "Trace":
    """The same step, as far as one device goes."""
    kept = np.array([variable.device == device for variable in trace.variables], dtype=bool)
    number = np.cumsum(kept) - 1
    events = np.flatnonzero(kept[trace.events.variable])
    columns = {name: column[events] for name, column in vars(trace.events).items()}
    columns["variable"] = number[columns["variable"]]
    is_main = device == trace.about.get("device")
    return replace(
        trace,
        events=Events(**columns),
        variables=tuple(v for v in trace.variables if v.device == device),
        about={**trace.about, "device": device},
        requests=_at(trace.requests, events) if is_main else None,
        outputs=trace.outputs if is_main else None,
    )


def _at(requests: Requests | None, events: np.ndarray) -> Requests | None:
    """Requests with the numbers that events have when only some of them are left."""
    if requests is None:
        return None
    latest = np.searchsorted(events, requests.event, side="right") - 1
    return replace(requests, event=np.where(requests.event == BEFORE, BEFORE, latest))
