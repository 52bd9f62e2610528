"""Dropping recomputations from a plan, as long as the step stays within its budget.

The planner of chains recomputes whole stages, because its model knows no parts of them. This pass
goes over single operators: it leaves out a recomputation where the value can be kept instead. The
result may not be memory-persistent. It never costs more than the plan that it is given.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from memprop.graph.graph import Graph, Operator
from memprop.schedules.live import bytes_while_running
from memprop.schedules.order import useful_places

_MOST_WORK: Final = 300_000
"""A few seconds."""


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
        return bytes_while_running(self.graph, self.batch, self.order)

    @property
    def peak(self) -> int:
        """The peak in bytes."""
        return int(self.live.max(initial=0))


def drop_recomputations(given: Priced, budget: int, most_work: int = _MOST_WORK) -> Priced:
    """``given``, which fits into ``budget`` bytes, with recomputations left out.

    Args:
        given: a plan.
        budget: its peak may rise to that many bytes.
        most_work: operators that are looked at in all trials together.
    """
    best, refused, work, most = given, set(), 0, len(given.order)
    while work < most_work:
        chosen = _chosen(best, budget, refused)[:most]
        if not chosen:
            break
        work += len(best.order)
        left_out = {one.place for one in chosen}
        order = [operator for i, operator in enumerate(best.order) if i not in left_out]
        trial = Priced.of(best.graph, best.batch, order)
        if trial.peak <= budget and trial.flops < best.flops:
            best, most = trial, len(trial.order)
        elif len(chosen) > 1:
            most = len(chosen) // 2  # together they do not fit: half of them may
        else:
            refused.add(chosen[0].tag)
    return best


class _Repetition(NamedTuple):
    """A run of an operator whose results have been there before.

    Attributes:
        saves: FLOPs that leaving it out saves. What leads up to it without a break in
            recomputation may become superfluous with it.
        tag: the operator and how many of its runs come after: leaving out earlier ones does not
            change it.
        place: in the order.
        since: the place at which its results were last used.
        kept: bytes of its results, which would have to be kept from there on.
    """

    saves: int
    tag: tuple[str, int]
    place: int
    since: int
    kept: int


def _chosen(best: Priced, budget: int, refused: set[tuple[str, int]]) -> list[_Repetition]:
    """The recomputations that may be left out together, the most expensive first."""
    live, chosen = best.live.copy(), []
    for one in sorted(_repetitions(best), reverse=True):
        between = live[one.since + 1 : one.place]
        if one.tag not in refused and int(between.max(initial=0)) + one.kept <= budget:
            between += one.kept
            chosen.append(one)
    return chosen


def _repetitions(best: Priced) -> Iterator[_Repetition]:
    graph, size = best.graph, best.graph.bytes_at(best.batch)
    runs = Counter(operator.name for operator in best.order)
    last_use: dict[str, int] = {}
    saves = 0
    for place, operator in enumerate(best.order):
        runs[operator.name] -= 1
        if operator.outputs[0] in last_use:
            saves += graph.flops(operator).at(best.batch)
            yield _Repetition(
                saves=saves,
                tag=(operator.name, runs[operator.name]),
                place=place,
                since=min(last_use[name] for name in operator.outputs),
                kept=sum(size[name] for name in operator.outputs),
            )
        else:
            saves = 0
        last_use.update(dict.fromkeys((*operator.inputs, *operator.outputs), place))
