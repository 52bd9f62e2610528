"""``budget:BYTES``: the least recomputation whose peak stays within a number of bytes.

The step is seen as a chain (:mod:`memprop.schedules.as_chain`) and planned by the recurrence of
:mod:`memprop.schedules.needs`; the plan's order is then priced on the graph itself, in true bytes,
and what is left of the budget is spent on leaving recomputations out. Every strategy that has a
name and fits is considered too, so none of them does better. The cheapest is taken.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from memprop.errors import InfeasibleBudget
from memprop.graph.graph import Graph, Operator
from memprop.schedules.as_chain import GraphChain, as_chain
from memprop.schedules.every import every
from memprop.schedules.optimal import frontier_plans, optimal
from memprop.schedules.plan import BACKWARD, DROP, Plan, infeasible
from memprop.schedules.revolve import extra_steps, revolve
from memprop.schedules.spend import Priced, spend
from memprop.schedules.stages import layers

_ROUNDS: Final = 4

_NEIGHBOURS: Final = 12

_MOST_REPEATED: Final = 32
"""Forward passes beyond the first; orders with more are longer than anyone would wait for."""


def within_budget(graph: Graph, budget: int, batch: int) -> Sequence[Operator]:
    """The order of the training step ``graph`` for a budget and a batch size.

    Raises:
        InfeasibleBudget: nothing fits; the error names the smallest budget that something fits.
    """
    everything = Priced.of(graph, batch, graph.operators)
    if everything.peak <= budget:
        return everything.order
    planned = list(_planned(graph, budget, batch))
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
    cheapest = sorted(fitting, key=lambda one: one.flops)[:3]
    return min((spend(one, budget) for one in cheapest), key=lambda one: one.flops).order


def _planned(graph: Graph, budget: int, batch: int) -> Iterator[Priced]:
    """The optimum of the chain, for what the chain takes to be the budget, and its neighbours.

    The chain takes every stage for a whole, so a plan that it finds a little dearer may be the
    cheaper one on the graph; and what was not used is offered again.
    """
    view = as_chain(graph, batch)
    room = budget - view.fixed_bytes
    below = [plan for plan in frontier_plans(view.chain) if plan.peak <= room]
    yield from (priced(graph, batch, view, plan) for plan in below[-_NEIGHBOURS:])
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
    """The optimum for every budget, from one solve of the chain."""
    view = as_chain(graph, batch)
    for plan in frontier_plans(view.chain):
        yield priced(graph, batch, view, plan)
