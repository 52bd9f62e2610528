"""What a stage can compute again, and what that saves: ways between all and nothing.

For a price of a byte, the best way minimizes the price of what is kept and the cost of what is
computed again. That is a minimum cut (of a project selection problem): a value that is needed is
kept, or computed again by a call, which needs its operands. From a low price to a high one come
the ways that are worth it: first norms, activations, dropout and casts are computed again, then
attention, at last products. What runs again at one price does so at every higher one.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import networkx
from networkx.algorithms.flow import boykov_kolmogorov

from memprop.torch.checkpoint.rehearsal import Rehearsal
from memprop.torch.checkpoint.stages import Stage

MOST: Final = 12
"""Ways of a stage, at most: the planner's time grows with them."""

Again = frozenset[int]
"""The calls of a stage that run again in its backward, if it goes one way."""

_END: Final = ("end", ())
_START: Final = ("start", ())
_CALL: Final = "call"


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


def ways_of(step: Rehearsal, stage: Stage, most: int = MOST) -> list[Again]:
    """The ways of a stage that are the best for some price of a byte, from nothing on.

    Args:
        step: the step.
        stage: calls of it.
        most: about so many are looked for.
    """
    graph = _graph(step, stage)
    highest = _highest_price(graph)
    if highest is None:
        return [frozenset()]
    nothing, everything = _kept(graph), _best(graph, highest)
    between = _between(graph, nothing, everything, most - 2)
    found: list[Again] = [frozenset()]
    for cut in (*between, everything):
        # Each holds those before it but where two come to the same.
        found.append(found[-1] | cut.again)
    return [found[0], *(after for before, after in pairwise(found) if after != before)]


class _Cut(NamedTuple):
    """What is needed, what of that costs something, and the bytes that are kept.

    Attributes:
        needed: the places of a network on the side of its start.
        cost: of the calls among them, which run again.
        bytes: that are kept.
    """

    needed: frozenset[Any]
    cost: float
    bytes: int

    @property
    def again(self) -> Again:
        """The calls that run again."""
        return frozenset(n for kind, unit in self.needed if kind == _CALL for n in unit)


def _between(graph: networkx.DiGraph, low: _Cut, high: _Cut, most: int) -> Iterator[_Cut]:
    """The cuts that are the best for prices between those of two others.

    The price at which both come to the same is tried: there another cut is better, or none is
    (Eisner and Severance 1976, https://doi.org/10.1145/321978.321982).
    """
    saved, more = low.bytes - high.bytes, high.cost - low.cost
    if most < 1 or saved <= 0 or more <= 0:
        return
    price = more / saved
    graph = _without_the_sure(graph, low, high)
    found = _best(graph, price, low.needed)
    if found.cost + price * found.bytes >= (low.cost + price * low.bytes) * (1 - _ROUNDING):
        return
    yield from _between(graph, low, found, most // 2)
    yield found
    yield from _between(graph, found, high, (most - 1) // 2)


_ROUNDING: Final = 1e-9


def _without_the_sure(graph: networkx.DiGraph, low: _Cut, high: _Cut) -> networkx.DiGraph:
    """A network without what is needed at both of two prices, or at neither.

    What is needed at one price is so at every higher one, so that only the rest is to be found
    between them. The first is part of the start now, the second of the end.
    """
    found = networkx.DiGraph()
    found.add_nodes_from([_START, _END])

    def place(name: Any) -> Any:
        if name in low.needed:
            return _START
        return name if name in high.needed else _END

    for before, after, edge in graph.edges(data=True):
        begin, end = place(before), place(after)
        if begin in (end, _END) or end == _START:
            continue
        known = found.get_edge_data(begin, end)
        if known is None:
            found.add_edge(begin, end, **edge)
        elif _is_finite(known):
            if _is_finite(edge):
                for unit in ("bytes", "cost"):
                    known[unit] = known.get(unit, 0) + edge.get(unit, 0)
            else:
                known.clear()
    return found


def _is_finite(edge: dict[str, Any]) -> bool:
    return "bytes" in edge or "cost" in edge


def _highest_price(graph: networkx.DiGraph) -> float | None:
    """A price of a byte at which all is computed again that can be; ``None`` if nothing can."""
    costs = [edge["cost"] for _, _, edge in graph.edges(data=True) if "cost" in edge]
    sizes = [edge["bytes"] for _, _, edge in graph.edges(data=True) if edge.get("bytes")]
    return 1 + 2 * sum(costs) / min(sizes) if costs and sizes else None


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
            graph.add_edge((_CALL, unit), _END, cost=cost)
        for made in call.made:
            if made in there:
                continue
            if values[made].overwritten:  # it is gone: there is no keeping it
                graph.add_edge(("value", made), (_CALL, unit))
                continue
            # What cannot run again is kept wherever it is needed.
            source = (_CALL, unit) if step.can_run_again[unit[0]] else _END
            graph.add_edge(("value", made), source, bytes=values[made].bytes)
            if values[made].saves:
                graph.add_edge(_START, ("value", made))
        for read in call.inputs:
            maker = values[read].call
            if maker in inside and read not in there and step.unit_of[maker] != unit:
                graph.add_edge((_CALL, unit), ("value", read))
    return graph


def _best(graph: networkx.DiGraph, price: float, sure: Collection[Any] = ()) -> _Cut:
    """The cut that is the best where a byte has this price.

    Args:
        graph: the network.
        price: of a byte.
        sure: what is needed beside what is found, and is no more in the network.
    """
    for _, _, edge in graph.edges(data=True):
        if _is_finite(edge):
            edge["capacity"] = edge.get("bytes", 0) * price + edge.get("cost", 0)
        else:
            edge.pop("capacity", None)
    _, (needed, _) = networkx.minimum_cut(graph, _START, _END, flow_func=boykov_kolmogorov)
    return _cut(graph, needed, sure)


def _kept(graph: networkx.DiGraph) -> _Cut:
    """The cut that keeps all that is saved."""
    return _cut(graph, {_START, *graph.successors(_START)})


def _cut(graph: networkx.DiGraph, needed: Collection[Any], sure: Collection[Any] = ()) -> _Cut:
    crossing = [
        edge for place in needed for after, edge in graph[place].items() if after not in needed
    ]
    return _Cut(
        needed=frozenset(needed).union(sure),
        cost=sum(edge.get("cost", 0) for edge in crossing),
        bytes=sum(edge.get("bytes", 0) for edge in crossing),
    )
