"""The parts of a step by their kind, and its backward passes, of which there may be several."""

import re
from typing import TYPE_CHECKING

import numpy as np

from memprop.terms import PHASES

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

_BACKWARD = PHASES.index("backward")


def part_of(phase: str) -> str:
    """What kind of part a phase is: "backward" for "backward 2" and for "critic/backward"."""
    return re.sub(r" \d+$", "", phase.rpartition("/")[2])


def parts(trace: "Trace") -> np.ndarray:
    """Of each event the number in :data:`memprop.terms.PHASES` of the kind of its phase.

    A phase of another kind has the number that it has in ``trace.phases``.
    """
    kinds = [part_of(phase) for phase in trace.phases]
    number = [PHASES.index(kind) if kind in PHASES else at for at, kind in enumerate(kinds)]
    return np.array(number)[trace.events.phase]


def passes(trace: "Trace") -> list[slice]:
    """The backward passes as stretches of events, in order.

    Each is from the first to the last event of a phase, so that one includes what it computes again
    and, where slices of a batch are said to have one phase, the forward pass of further slices.
    """
    phase, backward = trace.events.phase, parts(trace) == _BACKWARD
    found = []
    for number in np.unique(phase[backward]).tolist():
        at = np.flatnonzero(phase == number)
        found.append(slice(int(at[0]), int(at[-1]) + 1))
    return sorted(found, key=lambda one: one.start)


def next_backward(trace: "Trace", events: np.ndarray) -> np.ndarray:
    """For each of some events the one with which the next backward pass begins, or that which runs.

    It is the number of events where there is none.
    """
    stretches = passes(trace)
    ends = np.array([one.stop for one in stretches], dtype=np.int64)
    starts = np.array([one.start for one in stretches] + [len(trace.events)], dtype=np.int64)
    return starts[np.searchsorted(ends, events, side="right")]
