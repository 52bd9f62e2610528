"""The events of a step, in the order in which they happen, as the schedule alone settles them.

Which variable lives in which storage is settled here too. Whoever runs the step and whoever
predicts it reads these columns, so they cannot disagree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Final

import numpy as np

from memprop.graph.graph import Graph
from memprop.schedules.same import Same
from memprop.schedules.walk import walk
from memprop.terms import PHASES
from memprop.traces.events import ALLOCATE, FREE, READ

_PHASE: Final[Mapping[str, int]] = {name: number for number, name in enumerate(PHASES)}


@dataclass(frozen=True, eq=False)
class Order:
    """Columns of events, int64 arrays that nobody may write to.

    Attributes:
        kind: ALLOCATE, READ or FREE, shape ``(events,)`` as of all but the last.
        phase: index in PHASES.
        operator: index in the graph's operators; -1 before the first and after the last.
        variable: index in the graph's variables.
        storage: number of the buffer.
        over: the variable whose storage an allocation takes over; -1 for a fresh one.
        place: the instruction: 0 is what is there before the first operator, then one an action.
        instructions: of each the phase, the operator, how many allocations, reads and frees it
            has, and whether it computes; shape ``(instructions, 6)``.
    """

    kind: np.ndarray
    phase: np.ndarray
    operator: np.ndarray
    variable: np.ndarray
    storage: np.ndarray
    over: np.ndarray
    place: np.ndarray
    instructions: np.ndarray

    def __post_init__(self) -> None:
        for column in vars(self).values():
            column.flags.writeable = False


@lru_cache(maxsize=32)
def order_of(same: Same) -> Order:
    """The order of a legal schedule; it does not depend on the batch size."""
    graph = same.graph
    numbers = dict(zip(graph.operators_by_name, count(), strict=False))
    # Of each event the variable and its storage.
    names = [variable.name for variable in graph.sources]
    storages = list(range(len(names)))
    phase, number = _PHASE["setup"], -1
    instructions = [(phase, number, len(names), 0, 0, False)]
    for _, operator, live, born, dead in walk(graph, same.actions):
        if operator is None:
            instructions.append((phase, number, 0, 0, 1, False))
            names += dead
            storages += map(live.__getitem__, dead)
            continue
        read, number, phase = operator.inputs, numbers[operator.name], _PHASE[operator.phase]
        instructions.append((phase, number, len(born), len(read), len(dead), True))
        names += (*born, *read, *dead)
        storages += born.values()
        storages += map(live.__getitem__, read)
        if dead:
            storages += [born[name] if name in born else live[name] for name in dead]
    return _order(graph, names, storages, np.array(instructions, dtype=np.int64))


def _order(graph: Graph, names: list[str], storages: list[int], instructions: np.ndarray) -> Order:
    # What is freed behind the last operator is what was kept to the end.
    behind = np.flatnonzero(instructions[:, 5]).max(initial=0) + 1
    instructions[behind:, :2] = _PHASE["end"], -1
    counts = instructions[:, 2:5]
    place = np.repeat(np.arange(len(instructions)), counts.sum(axis=1))
    kind = np.repeat(np.tile([ALLOCATE, READ, FREE], len(instructions)), counts.reshape(-1))
    numbers = dict(zip(graph.by_name, count(), strict=False))
    variable = np.array([numbers[name] for name in names], dtype=np.int64)
    storage = np.array(storages, dtype=np.int64)
    return Order(
        kind=kind,
        phase=instructions[place, 0],
        operator=instructions[place, 1],
        variable=variable,
        storage=storage,
        over=_overwritten(kind, variable, storage),
        place=place,
        instructions=instructions,
    )


def _overwritten(kind: np.ndarray, variable: np.ndarray, storage: np.ndarray) -> np.ndarray:
    """Of each event the variable whose storage it takes over: the one that had it before."""
    births = np.flatnonzero(kind == ALLOCATE)
    births = births[np.argsort(storage[births], kind="stable")]
    before, after = births[:-1], births[1:]
    same = storage[before] == storage[after]
    over = np.full(len(kind), -1, dtype=np.int64)
    over[after[same]] = variable[before[same]]
    return over
