"""``budget:BYTES``: the least recomputation whose peak stays within a number of bytes.

The step is seen as a chain (:mod:`memprop.schedules.as_chain`), its stages keeping all or what is
dear to compute alone, and planned by the recurrence of :mod:`memprop.schedules.needs`; the plan's
order is then priced on the graph itself, in true bytes, and what is left of the budget is spent on
leaving recomputations out. Every strategy that has a name and fits is considered too, so none of
them does better. The cheapest is taken.
"""

import math
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
from memprop.schedules.selective import selective
from memprop.schedules.spend import Priced, spend
from memprop.schedules.stages import layers

_ROUNDS: Final = 4
"""How often the chain is planned for what the graph left of its budget."""

_BELOW: Final = 12
_ABOVE: Final = 4
"""How many plans of the frontier are priced on either side of a budget."""

_MOST_REPEATED: Final = 32
"""Forward passes beyond the first; orders with more are longer than anyone would wait for."""


class Share(NamedTuple):
    """A budget as a share of what the step needs where nothing is computed twice."""

    percent: int


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
    budget = everything.peak * given.percent // 100 if isinstance(given, Share) else given
    if everything.peak <= budget:
        return everything.order
    planned = [
        one if one.peak <= budget else spend(one, one.peak)  # which may lower its peak a little
        for view in chains(graph, batch)
        for one in _planned(graph, budget, batch, view)
    ]
    fitting = [one for one in planned if one.peak <= budget]
    least = min((one.flops for one in fitting), default=None)
    for one in named(graph, batch):
        if least is not None and one.flops >= least:
            break  # they come by rising cost
        if one.peak <= budget:
            fitting.append(one)
            break
    if not fitting:
        raise infeasible(budget, min(one.peak for one in (*planned, *named(graph, batch))))
    distinct = {one.order: one for one in fitting}.values()
    return min((spend(one, budget) for one in distinct), key=lambda one: one.flops).order


def _planned(graph: Graph, budget: int, batch: int, view: GraphChain) -> Iterator[Priced]:
    """The optimum of the chain, for what the chain takes to be the budget, and its neighbours.

    The chain takes every stage for a whole, so a plan that it finds a little dearer may be the
    cheaper one on the graph; and what was not used is offered again.
    """
    room = budget - view.fixed_bytes
    plans = frontier_plans(view.chain)
    fitting = sum(plan.peak <= room for plan in plans)  # they come by rising peak
    near = plans[max(fitting - _BELOW, 0) : fitting + _ABOVE]
    yield from (priced(graph, batch, view, plan) for plan in near)
    for _ in range(_ROUNDS):
        try:
            plan = optimal(view.chain, max(room, 1))
        except InfeasibleBudget as error:
            yield priced(graph, batch, view, optimal(view.chain, error.smallest))
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


def frontier(graph: Graph, batch: int) -> Iterator[Priced]:
    """What is planned for every budget, by rising peak, none beaten by another.

    One solve of the chain gives all plans; what is left of its own peak is spent on each.
    """
    found = [
        priced(graph, batch, view, plan)
        for view in chains(graph, batch)
        for plan in frontier_plans(view.chain)
    ]
    least = math.inf
    for one in sorted(found, key=lambda one: (one.peak, one.flops)):
        if one.flops < least:
            spent = spend(one, one.peak)
            least = spent.flops
            yield spent
