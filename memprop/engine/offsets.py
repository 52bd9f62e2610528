"""Where each storage of a step lies in one buffer.

Offsets are planned from the lifetimes that the schedule fixes: the largest storage first, each
into the smallest gap that fits it among those it meets in time (greedy by size with best fit:
Pisarchyk & Lee, "Efficient memory management for deep neural net inference", 2020).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from memprop.engine.program import Program
from memprop.terms import PERSISTENT

ALIGNMENT: Final = 64
"""Offsets are multiples of a cache line, which is also what the widest vector loads like."""


@dataclass(frozen=True)
class Placement:
    """Offsets in bytes of each ``(variable, storage)`` that begins a storage; the buffer's size."""

    offsets: dict[tuple[int, int], int]
    nbytes: int


@dataclass(slots=True)
class _Lifetime:
    variable: int
    storage: int
    begin: int
    end: int
    nbytes: int


def plan_offsets(program: Program, sizes: Sequence[int]) -> Placement:
    """Offsets for all storages of ``program`` but the persistent ones, which lie elsewhere.

    Args:
        program: what will run.
        sizes: bytes of each variable.
    """
    lifetimes = sorted(_lifetimes(program, sizes), key=lambda life: -life.nbytes)
    begin = np.array([life.begin for life in lifetimes])
    end = np.array([life.end for life in lifetimes])
    low = np.zeros(len(lifetimes), dtype=np.int64)
    high = np.zeros(len(lifetimes), dtype=np.int64)
    for place, life in enumerate(lifetimes):
        meets = (begin[:place] <= life.end) & (end[:place] >= life.begin)
        low[place] = _best_gap(low[:place][meets], high[:place][meets], life.nbytes)
        high[place] = low[place] + life.nbytes
    offsets = {
        (life.variable, life.storage): int(offset)
        for life, offset in zip(lifetimes, low, strict=True)
    }
    return Placement(offsets, int(high.max(initial=0)))


def _best_gap(low: np.ndarray, high: np.ndarray, nbytes: int) -> int:
    """The start of the smallest gap between occupied intervals that has room for ``nbytes``."""
    if not len(low):
        return 0
    order = np.argsort(low, kind="stable")
    # Intervals may overlap: those taken do not all live at the same time.
    reach = np.maximum.accumulate(high[order])
    starts = np.concatenate(([0], reach))
    gaps = np.concatenate((low[order], [np.iinfo(np.int64).max])) - starts
    fitting = np.flatnonzero(gaps >= nbytes)
    return int(starts[fitting[np.argmin(gaps[fitting])]])


def _lifetimes(program: Program, sizes: Sequence[int]) -> list[_Lifetime]:
    """Every storage in memory from its first to its last instruction, if it is not persistent.

    Sizes are rounded up to the alignment.
    """
    variables = program.schedule.graph.variables
    ours = {n for n, variable in enumerate(variables) if variable.category not in PERSISTENT}
    holders: Counter[int] = Counter()  # how many variables live in a storage now
    found: dict[int, _Lifetime] = {}
    forever = len(program.instructions)

    def begin(variable: int, storage: int, over: int, now: int) -> None:
        holders[storage] += 1
        if over < 0 and variable in ours:
            nbytes = -(-sizes[variable] // ALIGNMENT) * ALIGNMENT
            found[storage] = _Lifetime(variable, storage, now, forever, nbytes)

    for now, instruction in enumerate(program.instructions):
        for birth in instruction.births:
            begin(*birth, now=now)
        for _, storage in instruction.deaths:
            holders[storage] -= 1
            if not holders[storage] and storage in found:
                found[storage].end = now
    return list(found.values())
