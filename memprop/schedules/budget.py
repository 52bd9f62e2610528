"""``budget:BYTES``: the least recomputation whose peak stays within a number of bytes.

The step is seen as a chain (:mod:`memprop.schedules.as_chain`), whose stages keep everything or
only what is expensive to compute, and planned by the recurrence of
:mod:`memprop.schedules.memory_thresholds`. The order of the plan is then priced on the graph
itself, in true bytes, and recomputations are dropped as long as the budget allows. Every named
strategy that fits is considered too, so none of them does better. The cheapest is taken; where the
graph is short, a search over single operators (:mod:`memprop.schedules.search`) then finds what is
cheaper still. What each part gains and costs is measured by ``experiments/benchmarks/planner.py``.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from memprop.errors import InfeasibleBudget
from memprop.graph.graph import Graph, Operator
from memprop.schedules.as_chain import GraphChain, chains
from memprop.schedules.drop_recomputations import Priced, drop_recomputations
from memprop.schedules.every import every
from memprop.schedules.optimal import frontier_plans, optimal, plans_below
from memprop.schedules.plan import BACKWARD, DROP, Plan, infeasible
from memprop.schedules.revolve import extra_steps, revolve
from memprop.schedules.search import STATES, search
from memprop.schedules.selective import selective
from memprop.schedules.space import space_of
from memprop.schedules.stages import layers

_ROUNDS: Final = 2
"""How often the chain is planned for what the graph left of its budget."""

_BELOW: Final = 12
"""How many plans of the chain's frontier are priced below a budget."""

_IMPROVED: Final = 8
"""How many of the cheapest plans are improved until the budget is used up."""

_SHORT: Final = 400
"""Operators up to which the whole frontier is planned for a budget: about a second."""

_MOST_POINTS: Final = 64
"""Of a frontier, for each way to see the step; or up to twice as many."""

_WORK: Final = 100_000
"""Operators that are looked at for each plan that is improved."""

_WORK_A_POINT: Final = 30_000
"""The same for each point of a frontier: for a thousand layers, a few seconds in all."""

_STATES_A_POINT: Final = 2_000
"""States that a search looks at for each point of a frontier."""

_MOST_REPEATED: Final = 32
"""Forward passes beyond the first; orders with more are longer than anyone would wait for."""

_LONG: Final = 64
"""Layers up to which every number of segments and of stored states is tried."""


class BudgetFraction(NamedTuple):
    """A budget as a share of what the step needs where nothing is computed twice."""

    percent: int

    def __str__(self) -> str:
        return f"{self.percent}%"

    def of(self, peak: int) -> int:
        """This share of ``peak`` bytes."""
        return peak * self.percent // 100


def within_budget(graph: Graph, given: int | BudgetFraction, batch: int) -> Sequence[Operator]:
    """The order of the training step ``graph`` for a budget and a batch size.

    Args:
        graph: the step.
        given: bytes, or a share of the peak of "lean".
        batch: the value of the batch size.

    Raises:
        InfeasibleBudget: nothing fits; the error names the smallest budget that something fits.
    """
    everything = Priced.of(graph, batch, graph.operators)
    budget = given.of(everything.peak) if isinstance(given, BudgetFraction) else given
    if everything.peak <= budget:
        return everything.order
    planned = [one for view in chains(graph, batch) for one in _planned(graph, budget, batch, view)]
    chosen = _cheapest(planned, budget)
    few = len(chosen) < _IMPROVED
    if len(graph.operators) <= _SHORT:
        chosen += _cheapest(frontier(graph, batch), budget)
    chosen += _cheapest_named(graph, batch, budget, chosen)
    improved = [drop_recomputations(one, budget, _WORK) for one in chosen]
    if few:
        # Few plans fit: the budget is near the smallest. What is gained within a plan's own peak
        # first leads to other ends there than the whole budget at once.
        leanest = min(named(graph, batch), key=lambda one: (one.peak, one.flops))
        if not chosen:
            leanest = smallest(graph, batch)
            if leanest.peak > budget:
                raise infeasible(budget, leanest.peak)
        if leanest.peak <= budget:
            improved.append(
                drop_recomputations(
                    drop_recomputations(leanest, leanest.peak, _WORK), budget, _WORK
                )
            )
    best = min(improved, key=lambda one: one.flops)
    return searched(graph, batch, budget, best).order


def _cheapest_named(
    graph: Graph, batch: int, budget: int, others: Sequence[Priced]
) -> list[Priced]:
    """The cheapest named strategy within ``budget``, if it is cheaper than all ``others``."""
    least = min((one.flops for one in others), default=None)
    for one in _named_by_cost(graph, batch):
        if least is not None and one.flops >= least:
            break
        if one.peak <= budget:
            return [one]
    return []


def _cheapest(plans: Iterable[Priced], budget: int) -> list[Priced]:
    """The cheapest of ``plans`` that fit, each order once."""
    different = {one.order: one for one in plans if one.peak <= budget}
    return sorted(different.values(), key=lambda one: one.flops)[:_IMPROVED]


def searched(graph: Graph, batch: int, budget: int, best: Priced, states: int = STATES) -> Priced:
    """``best``, or what the search over single operators finds below it."""
    found = search(graph, batch, budget, below=best.flops, states=states)
    return best if found.order is None else Priced.of(graph, batch, found.order)


@lru_cache(maxsize=4)
def smallest(graph: Graph, batch: int) -> Priced:
    """The plan that needs the least memory."""
    views = chains(graph, batch)
    least = [priced(graph, batch, view, frontier_plans(view.chain)[0]) for view in views]
    best = min((*least, *named(graph, batch)), key=lambda one: (one.peak, one.flops))
    while True:
        below = [one for view in views for one in _planned(graph, best.peak - 1, batch, view)]
        leaner = [one for one in below if one.peak < best.peak]
        if not leaner:
            break
        best = min(leaner, key=lambda one: (one.peak, one.flops))
    low, high = space_of(graph, batch).least_bytes, best.peak
    while low < high:  # nothing is found within low - 1 bytes
        middle = (low + high) // 2
        order = search(graph, batch, middle, states=_STATES_A_POINT, any_will_do=True).order
        if order is None:
            low = middle + 1
        else:
            best = Priced.of(graph, batch, order)
            high = best.peak
    best = drop_recomputations(best, best.peak, _WORK_A_POINT)  # which may make it smaller still
    return searched(graph, batch, best.peak, best, _STATES_A_POINT)


def _planned(graph: Graph, budget: int, batch: int, view: GraphChain) -> Iterator[Priced]:
    """The optimum of the chain for a budget, and plans that need a little less.

    The chain takes every stage for a whole, so a plan that it finds a little dearer may be the
    cheaper one on the graph; and what the graph did not use of the budget is offered again.
    """
    room = budget - view.fixed_bytes
    below = plans_below(view.chain, room, _BELOW)
    yield from (priced(graph, batch, view, plan) for plan in below)
    for _ in range(_ROUNDS):
        try:
            plan = optimal(view.chain, max(room, 1))
        except InfeasibleBudget:
            return
        found = priced(graph, batch, view, plan)
        yield found
        if found.peak >= budget:
            return
        room += budget - found.peak


@lru_cache(maxsize=4)
def named(graph: Graph, batch: int) -> tuple[Priced, ...]:
    """Every named strategy that recomputes, by rising cost."""
    return tuple(_named_by_cost(graph, batch))


def _named_by_cost(graph: Graph, batch: int) -> Iterator[Priced]:
    """The same, made one by one as they are asked for: the expensive ones are long."""
    n = len(layers(graph))
    segmented = [every(graph, k) for k in _few(n)] + [selective(graph)]
    short = sorted((Priced.of(graph, batch, o) for o in segmented), key=lambda one: one.flops)
    long = (
        Priced.of(graph, batch, revolve(graph, states))
        for states in reversed(_few(n))
        if extra_steps(n, states) <= _MOST_REPEATED * n
    )
    return heapq.merge(short, long, key=lambda one: one.flops)


def _few(n: int) -> list[int]:
    """All numbers from 1 to n; for large n about equally many per doubling."""
    if n <= _LONG:
        return list(range(1, n + 1))
    return sorted({round(2 ** (step / 2)) for step in range(2 * n.bit_length()) if 2**step <= n**2})


def priced(graph: Graph, batch: int, view: GraphChain, plan: Plan) -> Priced:
    """The price of a plan for the chain, on the graph."""
    order: list[Operator] = []
    for action in plan.actions:
        if action.kind != DROP:
            part = view.stages[action.stage - 1]
            order += part.backward if action.kind == BACKWARD else part.forward
    return Priced.of(graph, batch, order)


@lru_cache(maxsize=4)
def frontier(graph: Graph, batch: int) -> tuple[Priced, ...]:
    """What is planned for every budget, by rising peak, none beaten by another.

    One solve of the chain gives all plans; what is left of its peak is spent on each, and on the
    best one below it. A budget planned by itself may find a little less: it is offered again what
    its plans leave of it.
    """
    found = [
        priced(graph, batch, view, plan)
        for view in chains(graph, batch)
        for plan in _thinned(frontier_plans(view.chain))
    ]
    found.append(smallest(graph, batch))
    points: list[Priced] = []
    for one in sorted(found, key=lambda one: (one.peak, one.flops)):
        tried = [
            drop_recomputations(given, one.peak, _WORK_A_POINT) for given in (one, *points[-1:])
        ]
        cheapest = min(tried, key=lambda one: (one.flops, one.peak))
        cheapest = searched(graph, batch, one.peak, cheapest, _STATES_A_POINT)
        if not points or cheapest.flops < points[-1].flops:
            while points and points[-1].peak >= cheapest.peak:
                points.pop()  # the peak may have become lower with the cost
            points.append(cheapest)
    return tuple(points)


def _thinned(plans: Sequence[Plan]) -> Sequence[Plan]:
    """At most as many of ``plans`` as a figure can show; the first is among them."""
    return plans[:: max(len(plans) // _MOST_POINTS, 1)]
