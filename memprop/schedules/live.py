"""Live bytes of a schedule, counted from its actions alone.

The engine counts the same while it runs; here nothing is run, so that a planner can ask for the
peaks of many schedules. The two share only the schedule, so each is a witness of the other.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from memprop.errors import InvalidValueError
from memprop.graph.graph import Graph, Operator
from memprop.schedules.actions import Action, Compute, Load, Store
from memprop.schedules.order import chosen_overwrites
from memprop.schedules.walk import Moment, walk


class Live(NamedTuple):
    """Live bytes while each action is done, and when it is done; both of shape (actions,)."""

    during: np.ndarray
    after: np.ndarray

    @property
    def peak(self) -> int:
        """The largest live bytes."""
        return int(self.during.max(initial=0))


def live_bytes(graph: Graph, actions: Sequence[Action], batch: int) -> Live:
    """The account of ``actions`` for one value of the batch size."""
    sizes = graph.bytes_at(batch)
    begin = sum(sizes[variable.name] for variable in graph.sources)
    changes = [_change(moment, sizes) for moment in walk(graph, actions)]
    _check_countable(begin + sum(born for born, _ in changes), batch)
    born, died = np.array(changes, dtype=np.int64).reshape(-1, 2).T
    after = begin + np.cumsum(born - died)
    return Live(after + died, after)


class OnDisk(NamedTuple):
    """What a schedule does with a disk, in bytes.

    Attributes:
        peak: the most that lies there at one time.
        moved: all that is written and read in a step.
    """

    peak: int
    moved: int


def bytes_on_disk(graph: Graph, actions: Sequence[Action], batch: int) -> OnDisk:
    """What ``actions`` store and load, for one value of the batch size."""
    sizes, there, peak, moved = graph.bytes_at(batch), 0, 0, 0
    for action in actions:
        if isinstance(action, Store | Load):
            size = sizes[action.variable]
            there += size if isinstance(action, Store) else -size
            peak, moved = max(peak, there), moved + size
    return OnDisk(peak, moved)


def _check_countable(total: int, batch: int) -> None:
    """Raise unless ``total`` bytes fit into the integers that count them."""
    if total >= 2**63:
        raise InvalidValueError(
            f"a step of batch {batch} would take more than 2^63 bytes: "
            "choose a smaller batch or narrower layers"
        )


def _change(moment: Moment, sizes: Mapping[str, int]) -> tuple[int, int]:
    """Bytes that come to life as an action begins, and bytes that are gone when it is done."""
    operator = moment.operator
    if isinstance(moment.action, Load):
        return sizes[moment.action.variable], 0
    if operator is None:
        return 0, sum(sizes[name] for name in moment.dead)
    over = (
        {target for target, _ in moment.action.into} if isinstance(moment.action, Compute) else ()
    )
    born = sum(sizes[name] for name in moment.born if name not in over)
    # A result keeps the storage of the operand that it is written over; scratch gives its own up.
    return born, sum(sizes[name] for name in operator.workspace)


def bytes_while_running(graph: Graph, batch: int, order: Sequence[Operator]) -> np.ndarray:
    """Live bytes while each operator of ``order`` runs, each value freed at its last use.

    They are what :func:`live_bytes` counts for the actions of that order. Planners price hundreds
    of orders, so no action is made here.
    """
    sizes, survivors = graph.bytes_at(batch), graph.survivors
    footprints = _footprints(graph, batch)
    awaited: set[str] = set()
    dying = []
    for operator in reversed(order):
        used = footprints[operator.name].used
        dying.append([name for name in used if name not in awaited and name not in survivors])
        awaited.difference_update(operator.outputs)
        awaited.update(operator.inputs)
    live = sum(sizes[variable.name] for variable in graph.sources)
    _check_countable(live + sum(footprints[operator.name].born for operator in order), batch)
    during = np.empty(len(order), dtype=np.int64)
    for place, operator in enumerate(order):
        _, born, scratch, overwrites = footprints[operator.name]
        dead = dying[len(order) - 1 - place]
        taken: Sequence[str] = ()
        if overwrites:
            into = chosen_overwrites(graph, operator, dead)
            born -= sum(sizes[target] for target, _ in into)
            taken = [operand for _, operand in into]
        live += born
        during[place] = live
        live -= scratch + sum(sizes[name] for name in dead if name not in taken)
    return during


class _Footprint(NamedTuple):
    """What an operator asks of memory.

    Attributes:
        used: its operands and results, each once.
        born: bytes of its results and scratch.
        scratch: bytes of its scratch.
        overwrites: whether it may or must write over an operand.
    """

    used: tuple[str, ...]
    born: int
    scratch: int
    overwrites: bool


@lru_cache(maxsize=4)
def _footprints(graph: Graph, batch: int) -> Mapping[str, _Footprint]:
    sizes, found = graph.bytes_at(batch), {}
    for operator in graph.operators:
        scratch = sum(sizes[name] for name in operator.workspace)
        found[operator.name] = _Footprint(
            used=tuple(dict.fromkeys(operator.inputs + operator.outputs)),
            born=scratch + sum(sizes[name] for name in operator.outputs),
            scratch=scratch,
            overwrites=any(graph.overwrites(operator)),
        )
    return found
