"""Spending what is left of a budget: recomputations are left out as long as the rest fits.

A pass over the operators themselves, not over stages: what a planner of chains runs again as a
whole, because its model is made that way, may in part still be there. The result need not be
memory-persistent, and nothing is claimed of it but that it costs no more than what it began with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from memprop.graph.graph import Graph, Operator
from memprop.schedules.actions import Compute
from memprop.schedules.live import live_bytes
from memprop.schedules.order import in_order, useful_places

_MOST_WORK: Final = 300_000
"""Operators that are looked at in all trials together: a few seconds."""


@dataclass(frozen=True, eq=False)
class Priced:
    """An order of a training step with its price.

    Attributes:
        graph: the step.
        batch: the value of the batch size.
        order: the operators, without repetitions that nothing reads.
    """

    graph: Graph
    batch: int
    order: tuple[Operator, ...]

    @classmethod
    def of(cls, graph: Graph, batch: int, order: Sequence[Operator]) -> "Priced":
        """The price of ``order``."""
        return cls(graph, batch, tuple(order[place] for place in useful_places(graph, order)))

    @cached_property
    def flops(self) -> int:
        """Floating-point operations of all that runs."""
        return sum(self.graph.flops(operator).at(self.batch) for operator in self.order)

    @cached_property
    def live(self) -> np.ndarray:
        """Live bytes while each operator runs."""
        actions = in_order(self.graph, self.order)
        during = live_bytes(self.graph, actions, self.batch).during
        return during[[isinstance(action, Compute) for action in actions]]

    @property
    def peak(self) -> int:
        """The peak in bytes."""
        return int(self.live.max(initial=0))


def spend(given: Priced, budget: int) -> Priced:
    """``given``, which fits into ``budget`` bytes, with recomputations left out, dearest first."""
    best, refused, work = given, set(), 0
    while work < _MOST_WORK:
        trial = _next(best, budget, refused)
        if trial is None:
            break
        work += len(best.order)
        tag, order = trial
        priced = Priced.of(best.graph, best.batch, order)
        if priced.peak <= budget and priced.flops < best.flops:
            best = priced
        else:
            refused.add(tag)
    return best


Tag = tuple[str, int]
"""A run of an operator, by its name and how many runs come after it: leaving out earlier ones
does not change the tag."""


def _next(best: Priced, budget: int, refused: set[Tag]) -> tuple[Tag, list[Operator]] | None:
    """The dearest recomputation that may be left out and was not refused, and the order without."""
    candidates = [c for c in _repetitions(best, budget) if c[1] not in refused]
    if not candidates:
        return None
    _, tag, place = max(candidates)
    return tag, [*best.order[:place], *best.order[place + 1 :]]


def _repetitions(best: Priced, budget: int) -> list[tuple[int, Tag, int]]:
    """What leaving each recomputation out saves, its tag and its place, where there is room.

    What leads up to it without a break in recomputation may become superfluous with it.
    """
    graph, size = best.graph, {v.name: v.nbytes.at(best.batch) for v in best.graph.variables}
    left = {operator.name: 0 for operator in best.order}
    for operator in best.order:
        left[operator.name] += 1
    last_use: dict[str, int] = {}
    found, saving = [], 0
    for place, operator in enumerate(best.order):
        left[operator.name] -= 1
        if operator.outputs[0] in last_use:
            saving += graph.flops(operator).at(best.batch)
            kept = sum(size[name] for name in operator.outputs)
            since = min(last_use[name] for name in operator.outputs)
            between = best.live[since + 1 : place]
            if int(between.max(initial=0)) + kept <= budget:
                found.append((saving, (operator.name, left[operator.name]), place))
        else:
            saving = 0
        last_use.update(dict.fromkeys((*operator.inputs, *operator.outputs), place))
    return found
