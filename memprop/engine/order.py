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

from memprop.graph.graph import Graph, Operator
from memprop.schedules.actions import Compute
from memprop.schedules.same import Same
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
    graph, actions = same.graph, same.actions
    walk = _Walk(graph)
    for action in actions:
        if isinstance(action, Compute):
            walk.compute(graph.operators_by_name[action.operator], dict(action.into))
        else:
            walk.free(action.variable)
    return walk.order()


class _Walk:
    """Follows every variable from storage to storage and writes down what happens."""

    def __init__(self, graph: Graph) -> None:
        self.variable = dict(zip(graph.by_name, count(), strict=False))
        self.operator = dict(zip(graph.operators_by_name, count(), strict=False))
        self.storage: dict[str, int] = {}  # of the variables alive now
        self.storages = 0
        # Of each event the variable and its storage, of each allocation what it is written over.
        self.names: list[str] = []
        self.homes: list[int] = []
        self.over: list[int] = []
        self.instructions: list[tuple[int, int, int, int, int, bool]] = []
        self._setup(tuple(variable.name for variable in graph.sources))

    def _setup(self, sources: tuple[str, ...]) -> None:
        self.instructions.append((_PHASE["setup"], -1, len(sources), 0, 0, False))
        self._note(sources, {}, (), ())

    def compute(self, operator: Operator, into: dict[str, str]) -> None:
        born, read = operator.outputs + operator.workspace, operator.inputs
        dead = (*into.values(), *operator.workspace)
        number = self.operator[operator.name]
        sizes = (len(born), len(read), len(dead))
        self.instructions.append((_PHASE[operator.phase], number, *sizes, True))
        self._note(born, into, read, dead)

    def free(self, name: str) -> None:
        phase, operator, *_ = self.instructions[-1]
        self.instructions.append((phase, operator, 0, 0, 1, False))
        self.names.append(name)
        self.homes.append(self.storage.pop(name))
        self.over.append(-1)

    def _note(
        self,
        born: tuple[str, ...],
        into: dict[str, str],
        read: tuple[str, ...],
        dead: tuple[str, ...],
    ) -> None:
        storage = self.storage
        for name in born:
            if name in into:
                storage[name] = storage[into[name]]
                self.over.append(self.variable[into[name]])
            else:
                storage[name] = self.storages
                self.storages += 1
                self.over.append(-1)
        used = born + read
        self.names += used + dead
        self.homes += [storage[name] for name in used]
        self.homes += [storage.pop(name) for name in dead]
        self.over += [-1] * (len(read) + len(dead))

    def order(self) -> Order:
        instructions = np.array(self.instructions, dtype=np.int64)
        # What is freed behind the last operator is what was kept to the end.
        behind = np.flatnonzero(instructions[:, 5]).max(initial=0) + 1
        instructions[behind:, :2] = _PHASE["end"], -1
        counts = instructions[:, 2:5]
        place = np.repeat(np.arange(len(instructions)), counts.sum(axis=1))
        kinds = np.tile([ALLOCATE, READ, FREE], len(instructions))
        return Order(
            kind=np.repeat(kinds, counts.reshape(-1)),
            phase=instructions[place, 0],
            operator=instructions[place, 1],
            variable=np.array([self.variable[name] for name in self.names], dtype=np.int64),
            storage=np.array(self.homes, dtype=np.int64),
            over=np.array(self.over, dtype=np.int64),
            place=place,
            instructions=instructions,
        )
