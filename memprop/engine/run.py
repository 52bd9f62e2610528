"""The loop that runs a step: calls, made one after the other."""

import time
from collections.abc import Iterable, Sequence

from memprop.engine.log import Log
from memprop.graph.rules import Call

Prepared = tuple[int, Iterable[Call]]
"""The place of an instruction in its program, and the calls that do it."""


def make(calls: Iterable[Call]) -> None:
    """Make the calls."""
    for call in calls:
        call()


def run(prepared: Sequence[Prepared], log: Log | None = None) -> None:
    """Do everything that was prepared, in order, and note in ``log`` when each was done."""
    # The calls are not made by make(): to call it for each operator takes 2 % of a small step.
    if log is None:
        for _, calls in prepared:
            for call in calls:
                call()
    else:
        clock, ends = time.perf_counter_ns, log.ends
        begin = clock()
        for place, calls in prepared:
            for call in calls:
                call()
            ends[place] = clock() - begin
