"""``budget:BYTES``: the least recomputation whose peak stays within a number of bytes.

The step is seen as a chain (:mod:`memprop.schedules.as_chain`), its stages keeping all or what is
dear to compute alone, and planned by the recurrence of :mod:`memprop.schedules.needs`; the plan's
order is then priced on the graph itself, in true bytes, and what is left of the budget is spent on
leaving recomputations out. Every strategy that has a name and fits is considered too, so none of
them does better. The cheapest is taken; where the graph is short, a search over single operators
(:mod:`memprop.schedules.search`) then finds what is cheaper still.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from memprop.errors import InfeasibleBudget
from memprop.graph.graph import Graph, Operator
from memprop.schedules.as_chain import GraphChain, chains
from memprop.schedules.every import every
from memprop.schedules.optimal import frontier_plans, optimal
from memprop.schedules.plan import BACKWARD, DROP, Plan, infeasible
from memprop.schedules.revolve import extra_steps, revolve
from memprop.schedules.search import STATES, search
from memprop.schedules.selective import selective
from memprop.schedules.space import space_of
from memprop.schedules.spend import Priced, spend
from memprop.schedules.stages import layers

_ROUNDS: Final = 4
"""How often the chain is planned for what the graph left of its budget."""

_BELOW: Final = 12
"""How many plans of the chain's frontier are priced below a budget."""

_SPENT: Final = 24
"""How many of the cheapest plans that fit are spent the rest of a budget on."""

_MOST_POINTS: Final = 64
"""Of a frontier, for each way to see the step; or up to twice as many."""

_WORK_A_POINT: Final = 30_000
"""Operators looked at for each: for a thousand layers, a few seconds in all."""

_STATES_A_POINT: Final = 2_000
"""States that a search looks at for each."""

_MOST_REPEATED: Final = 32
"""Forward passes beyond the first; orders with more are longer than anyone would wait for."""


class Share(NamedTuple):
    """A budget as a share of what the step needs where nothing is computed twice."""

    percent: int

    def __str__(self) -> str:
        return f"{self.percent}%"

    def of(self, peak: int) -> int:
        """This share of ``peak`` bytes."""
        return peak * self.percent // 100


def within_budget(graph: Graph, given: int | Share, batch: int) -> Sequence[Operator]:
    """The order of the training step ``graph`` for a budget and a batch size.

    Args:
        graph: the step.
        given: bytes, or a share of the peak of "lean".
        batch: the value of the batch size.

    Raises:
        InfeasibleBudget: nothing fits; the error names the smallest budget that something fits.
    """
    everything = Priced.of(graph, batch, graph.operators)
    budget = given.of(everything.peak) if isinstance(given, Share) else given
    if everything.peak <= budget:
        return everything.order
    planned = [*frontier(graph, batch)]
    for view in chains(graph, batch):
        planned += _planned(graph, budget, batch, view)
    fitting = [one for one in planned if one.peak <= budget]
    least = min((one.flops for one in fitting), default=None)
    for one in named(graph, batch):
        if least is not None and one.flops >= least:
            break  # they come by rising cost
        if one.peak <= budget:
            fitting.append(one)
            break
    cheapest = sorted(fitting, key=lambda one: one.flops)[:_SPENT]
    tried = [
        spend(one, budget, _WORK_A_POINT) for one in {one.order: one for one in cheapest}.values()
    ]
    best = min(tried, key=lambda one: one.flops, default=None)
    if best is None:
        best = smallest(graph, batch)
        if best.peak > budget:
            raise infeasible(budget, best.peak)
    best = spend(best, budget)
    return searched(graph, batch, budget, best).order


def searched(graph: Graph, batch: int, budget: int, best: Priced, states: int = STATES) -> Priced:
    """``best``, or what the search over single operators finds below it."""
    found = search(graph, batch, budget, below=best.flops, states=states)
    return best if found.order is None else Priced.of(graph, batch, found.order)


@lru_cache(maxsize=4)
def smallest(graph: Graph, batch: int) -> Priced:
    """Of all that is planned what needs the least memory."""
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
    return best


def _planned(graph: Graph, budget: int, batch: int, view: GraphChain) -> Iterator[Priced]:
    """The optimum of the chain, for what the chain takes to be the budget, and plans below it.

    The chain takes every stage for a whole, so a plan that it finds a little dearer may be the
    cheaper one on the graph; and what was not used is offered again.
    """
    room = budget - view.fixed_bytes
    below = [plan for plan in frontier_plans(view.chain) if plan.peak <= room]
    yield from (priced(graph, batch, view, plan) for plan in below[-_BELOW:])
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
    n = len(layers(graph))
    orders = [every(graph, k) for k in _few(n)]
    orders.append(selective(graph))
    orders += [revolve(graph, c) for c in _few(n) if extra_steps(n, c) <= _MOST_REPEATED * n]
    return tuple(sorted((Priced.of(graph, batch, o) for o in orders), key=lambda one: one.flops))


def _few(n: int) -> list[int]:
    """All numbers from 1 to n; for long chains those that make a difference."""
    if n <= 64:
        return list(range(1, n + 1))
    return sorted({-(-n // parts) for parts in range(1, n + 1)} | set(range(1, 33)))


def priced(graph: Graph, batch: int, view: GraphChain, plan: Plan) -> Priced:
    """The price of a plan for the chain, on the graph."""
    order: list[Operator] = []
    for kind, stage in plan.actions:
        if kind != DROP:
            part = view.stages[stage - 1]
            order += part.backward if kind == BACKWARD else part.forward
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
        tried = [spend(given, one.peak, _WORK_A_POINT) for given in (one, *points[-1:])]
        cheapest = min(tried, key=lambda one: (one.flops, one.peak))
        cheapest = searched(graph, batch, one.peak, cheapest, _STATES_A_POINT)
        if not points or cheapest.flops < points[-1].flops:
            while points and points[-1].peak >= cheapest.peak:
                points.pop()  # the peak may have become lower with the cost
            points.append(cheapest)
    return tuple(points)


def _thinned(plans: Sequence[Plan]) -> Sequence[Plan]:
    """At most so many of ``plans`` that a figure shows them all, the first among them."""
    return plans[:: max(len(plans) // _MOST_POINTS, 1)]
