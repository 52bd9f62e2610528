"""When the events of a trace happened, for formats that want a time for each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from memprop.traces.trace import Trace


@dataclass(frozen=True, eq=False)
class Clock:
    """Times of events.

    Attributes:
        microseconds: of each event, shape ``(events,)``, never falling.
        end: microseconds at which the step is over.
        told: where the times come from, in words.
    """

    microseconds: np.ndarray
    end: float
    told: str


def clock_of(trace: "Trace") -> Clock:
    """The recorded times; the numbers of the events, as microseconds, where nothing was run."""
    nanoseconds = trace.events.nanoseconds
    if (nanoseconds < 0).all():
        numbers = np.arange(len(nanoseconds), dtype=np.float64)
        return Clock(
            numbers, float(len(numbers)), "nothing was run: a microsecond stands for an event"
        )
    # An allocation is timed at the start of its operator, reads and frees at its end.
    times = np.maximum.accumulate(np.maximum(nanoseconds, 0)) / 1000
    return Clock(times, float(times[-1]), "recorded while the step ran")
