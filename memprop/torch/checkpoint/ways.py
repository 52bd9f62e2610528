"""What a stage can compute again, and what that saves: ways between all and nothing.

For a price of a byte, the best way minimizes the price of what is kept and the cost of what is
computed again. That is a minimum cut (of a project selection problem): a value that is needed is
kept, or computed again by a call, which needs its operands. From a low price to a high one come
the ways that are worth it: first norms, activations, dropout and casts are computed again, then
attention, at last products.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import networkx

from memprop.torch.checkpoint.rehearsal import Rehearsal
from memprop.torch.checkpoint.stages import Stage

PRICES: Final = 12
"""How many prices of a byte are tried, each the same multiple of the one before."""

Again = frozenset[int]
"""The calls of a stage that run again in its backward, if it goes one way."""

_END: Final = "end"
_START: Final = "start"


def ways_of_all(step: Rehearsal, stages: Sequence[Stage]) -> list[list[Again]]:
    """For each stage its ways, from the one that computes nothing again on.

    Alike stages have the same ways: those of the first are looked for.
    """
    known: dict[object, list[Again]] = {}
    found: list[list[Again]] = []
    for stage in stages:
        key = _likeness(step, stage)
        if key not in known:
            ways = ways_of(step, stage)
            known[key] = [frozenset(n - stage.calls[0] for n in way) for way in ways]
        found.append([frozenset(n + stage.calls[0] for n in way) for way in known[key]])
    return found


def _likeness(step: Rehearsal, stage: Stage) -> tuple[object, ...]:
    """What alike stages have in common: operators, costs, sizes, and who reads what."""
    values, first = step.seen.values, stage.calls[0]
    inside = set(stage.calls)

    def place(value: int) -> tuple[int, int]:
        maker = values[value].call
        if maker not in inside:
            return (-1, -1)
        return (maker - first, step.seen.calls[maker].made.index(value))

    return tuple(
        (
            call.func,
            step.costs[call.number],
            step.can_run_again[call.number],
            tuple(map(place, call.operands)),
            tuple(
                (values[value].bytes, bool(values[value].saves), value in stage.handed_on)
                for value in call.made
            ),
        )
        for call in (step.seen.calls[number] for number in stage.calls)
    )


def ways_of(step: Rehearsal, stage: Stage) -> list[Again]:
    """The ways of a stage, from the one that computes nothing again on."""
    graph = _graph(step, stage)
    found: list[Again] = [frozenset()]
    for price in _prices(graph):
        way = _best(graph, price)
        if way not in found:
            found.append(way)
    return found


def _prices(graph: networkx.DiGraph) -> Iterator[float]:
    """Prices of a byte: from where nothing is computed again up to where all is that can be."""
    costs = [edge["cost"] for _, _, edge in graph.edges(data=True) if edge.get("cost")]
    sizes = [edge["bytes"] for _, _, edge in graph.edges(data=True) if edge.get("bytes")]
    if not costs or not sizes:
        return
    low, high = min(costs) / sum(sizes), 2 * sum(costs) / min(sizes)
    for place in range(PRICES):
        yield low * (high / low) ** (place / (PRICES - 1))


def _graph(step: Rehearsal, stage: Stage) -> networkx.DiGraph:
    """The stage as a network: what is cut in front of a call is kept, behind it computed again.

    An edge with ``bytes`` costs its price for each of them, one with ``cost`` that.
    """
    values, inside = step.seen.values, set(stage.calls)
    there = stage.handed_on
    graph = networkx.DiGraph()
    graph.add_node(_START)
    graph.add_node(_END)
    for number in stage.calls:
        call = step.seen.calls[number]
        unit = step.unit_of[number]
        if step.can_run_again[unit[0]]:
            cost = sum(step.costs[one] for one in unit)
            graph.add_edge(("call", unit), _END, cost=cost)
        for made in call.made:
            if made in there or values[made].overwritten:
                continue
            graph.add_edge(("value", made), ("call", unit), bytes=values[made].bytes)
            if values[made].saves:
                graph.add_edge(_START, ("value", made))
        for read in call.inputs:
            maker = values[read].call
            if maker in inside and read not in there and step.unit_of[maker] != unit:
                graph.add_edge(("call", unit), ("value", read))
    return graph


def _best(graph: networkx.DiGraph, price: float) -> Again:
    """The calls that run again where a byte has this price."""
    for _, _, edge in graph.edges(data=True):
        if "bytes" in edge:
            edge["capacity"] = edge["bytes"] * price
        elif "cost" in edge:
            edge["capacity"] = edge["cost"]
    _, (needed, _) = networkx.minimum_cut(graph, _START, _END)
    return frozenset(
        number for kind, unit in needed - {_START} if kind == "call" for number in unit
    )
