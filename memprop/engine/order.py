"""The events of a step, in the order in which they happen, as the schedule alone settles them.

Which variable lives in which storage is settled here too. Whoever runs the step and whoever
predicts it reads these columns, so they cannot disagree.

A copy on disk is a variable of its own, numbered behind those of the graph. To store or load one is
done by an operator of its own, numbered behind those of the graph too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Final

import numpy as np

from memprop.graph.graph import Graph
from memprop.schedules.actions import Action, Free, Load, Store
from memprop.schedules.same import Same
from memprop.schedules.walk import walk
from memprop.terms import PHASES
from memprop.traces.events import ALLOCATE, FREE, READ

FREES: Final = 0
COMPUTES: Final = 1
STORES: Final = 2
LOADS: Final = 3

_PHASE: Final[Mapping[str, int]] = {name: number for number, name in enumerate(PHASES)}


@dataclass(frozen=True, eq=False)
class Order:
    """Columns of events, int64 arrays that nobody may write to.

    Attributes:
        kind: ALLOCATE, READ or FREE, shape ``(events,)`` as of all but the last.
        phase: index in PHASES.
        operator: index in the graph's operators; -1 before the first and after the last. Behind
            them come two for each copy: the one that stores it, the one that loads it.
        variable: index in the graph's variables; behind them come the copies on disk.
        storage: number of the buffer.
        over: the variable whose storage an allocation takes over; -1 for a fresh one.
        place: the instruction: 0 is what is there before the first operator, then one an action.
        instructions: of each the phase, the operator, how many allocations, reads and frees it
            has, and what it does: FREES (the setup too), COMPUTES, STORES or LOADS; shape
            ``(instructions, 6)``.
        copies: of each copy on disk the number of the variable in memory.
    """

    kind: np.ndarray
    phase: np.ndarray
    operator: np.ndarray
    variable: np.ndarray
    storage: np.ndarray
    over: np.ndarray
    place: np.ndarray
    instructions: np.ndarray
    copies: np.ndarray

    def __post_init__(self) -> None:
        for column in vars(self).values():
            column.flags.writeable = False


@lru_cache(maxsize=32)
def order_of(same: Same) -> Order:
    """The order of a legal schedule; it does not depend on the batch size."""
    graph = same.graph
    numbers = dict(zip(graph.operators_by_name, count(), strict=False))
    copies = _copies(same.actions)
    # Of each event the variable and its storage.
    names = [variable.name for variable in graph.sources]
    storages = list(range(len(names)))
    phase, number = _PHASE["setup"], -1
    instructions = [(phase, number, len(names), 0, 0, FREES)]
    for action, operator, live, stored, born, dead in walk(graph, same.actions):
        if isinstance(action, Free):
            instructions.append((phase, number, 0, 0, 1, FREES))
            names += dead
            storages += map(live.__getitem__, dead)
            continue
        if isinstance(action, Store | Load):
            what, died, moved, where = _transfer(action, live, stored, born)
            number = len(numbers) + 2 * copies[action.variable] + (what == LOADS)
            instructions.append((phase, number, 1, 1, died, what))
            names += moved
            storages += where
            continue
        assert operator is not None  # noqa: S101 - schedules are checked before they run
        read, number, phase = operator.inputs, numbers[operator.name], _PHASE[operator.phase]
        instructions.append((phase, number, len(born), len(read), len(dead), COMPUTES))
        names += (*born, *read, *dead)
        storages += born.values()
        storages += map(live.__getitem__, read)
        if dead:
            storages += [born[name] if name in born else live[name] for name in dead]
    return _order(graph, copies, names, storages, np.array(instructions, dtype=np.int64))


def _copies(actions: Sequence[Action]) -> dict[str, int]:
    """The variables of which there is ever a copy on disk, numbered."""
    names = dict.fromkeys(action.variable for action in actions if isinstance(action, Store))
    return {name: number for number, name in enumerate(names)}


def _on_disk(name: str) -> str:
    """What a copy is called here; no variable has such a name."""
    return f"{name} on disk"


def _transfer(
    action: Store | Load,
    live: Mapping[str, int],
    stored: Mapping[str, int],
    born: Mapping[str, int],
) -> tuple[int, int, list[str], list[int]]:
    """What storing or loading a variable does, and its events.

    Returns:
        STORES or LOADS; how many variables die with it; of what is born, read, and dies the names
        and the storages.
    """
    name, copy = action.variable, _on_disk(action.variable)
    if isinstance(action, Store):
        return STORES, 0, [copy, name], [born[name], live[name]]
    return LOADS, 1, [name, copy, copy], [born[name], stored[name], stored[name]]


def _order(
    graph: Graph,
    copies: Iterable[str],
    names: list[str],
    storages: list[int],
    instructions: np.ndarray,
) -> Order:
    _settle_phases(instructions)
    counts = instructions[:, 2:5]
    place = np.repeat(np.arange(len(instructions)), counts.sum(axis=1))
    kind = np.repeat(np.tile([ALLOCATE, READ, FREE], len(instructions)), counts.reshape(-1))
    numbers = dict(zip((*graph.by_name, *map(_on_disk, copies)), count(), strict=False))
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
        copies=np.array([numbers[name] for name in copies], dtype=np.int64),
    )


def _settle_phases(instructions: np.ndarray) -> None:
    """Put a load into the phase of the operator that it is for, and the last frees at the end."""
    what = instructions[:, 5]
    loads, computes = np.flatnonzero(what == LOADS), np.flatnonzero(what == COMPUTES)
    if len(loads):
        following = np.searchsorted(computes, loads).clip(max=len(computes) - 1)
        instructions[loads, 0] = instructions[computes[following], 0]
    # What is freed behind the last operator is what was kept to the end.
    behind = np.flatnonzero(what != FREES).max(initial=0) + 1
    instructions[behind:, :2] = _PHASE["end"], -1


def _overwritten(kind: np.ndarray, variable: np.ndarray, storage: np.ndarray) -> np.ndarray:
    """Of each event the variable whose storage it takes over: the one that had it before."""
    births = np.flatnonzero(kind == ALLOCATE)
    births = births[np.argsort(storage[births], kind="stable")]
    before, after = births[:-1], births[1:]
    same = storage[before] == storage[after]
    over = np.full(len(kind), -1, dtype=np.int64)
    over[after[same]] = variable[before[same]]
    return over
