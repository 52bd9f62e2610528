"""Live bytes of a schedule, counted from its actions alone.

The engine counts the same while it runs; here nothing is run, so that a planner can ask for the
peaks of many schedules. The two share only the schedule, so each is a witness of the other.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from memprop.errors import InvalidValueError
from memprop.graph.graph import Graph
from memprop.schedules.actions import Action, Compute


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
    changes = [_change(graph, action, sizes) for action in actions]
    if begin + sum(born for born, _ in changes) >= 2**63:
        raise InvalidValueError(
            f"a step of batch {batch} would take more than 2^63 bytes: "
            "choose a smaller batch or narrower layers"
        )
    born, died = np.array(changes, dtype=np.int64).reshape(-1, 2).T
    after = begin + np.cumsum(born - died)
    return Live(after + died, after)


def _change(graph: Graph, action: Action, sizes: Mapping[str, int]) -> tuple[int, int]:
    """Bytes that come to life as ``action`` begins, and bytes that are gone when it is done."""
    if not isinstance(action, Compute):
        return 0, sizes[action.variable]
    operator = graph.operators_by_name[action.operator]
    over = {target for target, _ in action.into}
    born = sum(sizes[n] for n in operator.outputs + operator.workspace if n not in over)
    # A result keeps the storage of the operand that it is written over; scratch gives it up too.
    return born, sum(sizes[name] for name in operator.workspace)
