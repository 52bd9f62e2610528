"""The FLOPs of a schedule, and how many of them are recomputations."""

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from memprop.graph.affine import Affine, total
from memprop.schedules.actions import Compute
from memprop.schedules.same import Same


class Work(NamedTuple):
    """Floating-point operations over the samples of a micro-batch.

    Attributes:
        once: those of the first run of each operator.
        again: those of its further runs.
    """

    once: Affine
    again: Affine


@lru_cache(maxsize=32)
def work_of(same: Same) -> Work:
    """The work of the actions of a schedule."""
    operators = same.graph.operators_by_name
    runs = Counter(action.operator for action in same.actions if isinstance(action, Compute))
    costs = {name: same.graph.flops(operators[name]) for name in runs}
    again = (costs[name].times(times - 1) for name, times in runs.items() if times > 1)
    return Work(once=total(costs.values()), again=total(again))
