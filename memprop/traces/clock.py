"""When the events of a trace happened."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from memprop.traces.trace import Trace


def recorded(trace: "Trace") -> np.ndarray | None:
    """Nanoseconds since the step began, never falling; ``None`` where nothing was run."""
    nanoseconds = trace.events.nanoseconds
    if (nanoseconds < 0).all():
        return None
    # An allocation is timed at the start of its operator, reads and frees at its end.
    return np.maximum.accumulate(np.maximum(nanoseconds, 0))


@dataclass(frozen=True, eq=False)
class Clock:
    """Times of events, for formats that want one for each.

    Attributes:
        microseconds: of each event, shape ``(events,)``, never falling.
        end: microseconds at which the step is over.
        source: where the times come from, in words.
    """

    microseconds: np.ndarray
    end: float
    source: str


def clock_of(trace: "Trace") -> Clock:
    """The recorded times; the numbers of the events, as microseconds, where nothing was run."""
    nanoseconds = recorded(trace)
    if nanoseconds is None:
        numbers = np.arange(len(trace.events), dtype=np.float64)
        return Clock(
            numbers, float(len(numbers)), "nothing was run: a microsecond stands for an event"
        )
    times = nanoseconds / 1000
    return Clock(times, float(times[-1]), "recorded while the step ran")
