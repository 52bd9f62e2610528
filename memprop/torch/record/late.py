"""What was there before a step, but was found only when the step used it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from memprop.terms import PHASES
from memprop.traces.requests import BEFORE
from memprop.traces.trace import Trace


def given_at_setup(trace: Trace, late: Sequence[int]) -> Trace:
    """The trace with these events, each of which introduces a variable, at its beginning."""
    if not late:
        return trace
    events = trace.events
    rest = np.setdiff1d(np.arange(len(events)), late)
    order = np.concatenate([np.array(late), rest])
    moved = {name: column[order] for name, column in vars(events).items()}
    number = np.argsort(order)  # of each event from now on
    requests = trace.requests
    if requests is not None:
        within = requests.event != BEFORE
        event = np.where(within, number[requests.event], BEFORE)
        requests = replace(requests, event=event)
    count = len(late)
    moved["phase"][:count] = PHASES.index("setup")
    moved["operator"][:count] = -1
    moved["nanoseconds"][:count] = events.nanoseconds[0]
    return replace(trace, events=type(events)(**moved), requests=requests)
