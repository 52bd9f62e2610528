"""Folding: alike layers that follow each other become one box with the sum of their bytes."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Final

from memprop.graph.picture.picture import GROUP, REUSE, VARIABLE, Edge, Node, Picture, key_of
from memprop.units import format_bytes

FEWEST: Final = 3
"""Fewer layers than this are drawn as they are."""


def fold(picture: Picture) -> Picture:
    """``picture`` with alike layers as groups, one for the forward pass and one for the backward.

    The first layer and the last of those that are alike stay, so that what goes into the group
    and what comes out of it can be seen.
    """
    home = dict(_homes(picture))
    groups: defaultdict[str, list[Node]] = defaultdict(list)
    for node in picture.nodes:
        if node.key in home:
            groups[home[node.key]].append(node)
    if not groups:
        return picture
    made = {key: _group(key, members) for key, members in groups.items()}
    nodes = dict.fromkeys(made.get(home.get(n.key, ""), n) for n in picture.nodes)
    return replace(picture, nodes=tuple(nodes), edges=tuple(_edges(picture, home)))


def _homes(picture: Picture) -> Iterator[tuple[str, str]]:
    """The key of each node that is folded, with that of its group."""
    layers: defaultdict[int, list[Node]] = defaultdict(list)
    for node in picture.nodes:
        if node.layer is not None:
            layers[node.layer].append(node)
    for first, last in _runs(layers):
        for layer in range(first, last + 1):
            for node in layers[layer]:
                part = "backward" if node.is_backward else "forward"
                yield node.key, key_of(GROUP, f"{part} {first}-{last}")


def _runs(layers: Mapping[int, Sequence[Node]]) -> Iterator[tuple[int, int]]:
    """First and last layer of each stretch that is folded."""
    computed = [n for n in sorted(layers) if any(node.kind != VARIABLE for node in layers[n])]
    signs = {n: _sign(layers[n]) for n in computed}
    starts = [n for n in computed if signs.get(n - 1) != signs[n]]
    for start, after in pairwise([*starts, computed[-1] + 1 if computed else 0]):
        first, last = max(start, computed[0] + 1), after - 2
        if last - first + 1 >= FEWEST:
            yield first, last


def _sign(nodes: Sequence[Node]) -> Counter[tuple[object, ...]]:
    """What a layer is made of; alike layers have equal ones."""
    return Counter((node.kind, node.phase, *node.alike) for node in nodes)


def _group(key: str, members: Sequence[Node]) -> Node:
    layers = [node.layer for node in members if node.layer is not None]
    first, last = min(layers), max(layers)
    size = sum(node.bytes for node in members)
    phase = "backward" if members[0].is_backward else "forward"
    return Node(
        key=key,
        kind=GROUP,
        name=key.removeprefix(f"{GROUP} "),
        title=f"× {last - first + 1}",
        lines=(f"layers {first} to {last}", *_kinds(members), format_bytes(size), *_notes(members)),
        bytes=size,
        phase=phase,
        runs=max(node.runs for node in members),
        cached=any(node.cached for node in members),
        layers=(first, last),
        members=tuple(node.key for node in members),
    )


def _kinds(members: Sequence[Node]) -> Iterator[str]:
    """What one of the layers does: the signs of its operators in their order."""
    operators = [node for node in members if node.kind != VARIABLE]
    first = next(groupby(operators, key=lambda node: node.layer), None)
    if first is not None:
        yield ", ".join(node.title for node in first[1])


def _notes(members: Sequence[Node]) -> Iterator[str]:
    variables = [node for node in members if node.kind == VARIABLE]
    cached = sum(node.bytes for node in variables if node.cached)
    again = sum(node.is_recomputed for node in members if node.kind != VARIABLE)
    if cached:
        yield f"cached {format_bytes(cached)}"
    if again:
        yield f"{again} of {len(members) - len(variables)} run again"


def _edges(picture: Picture, home: Mapping[str, str]) -> Iterator[Edge]:
    """The edges between what is left; of several between two nodes the reuse is drawn."""
    kinds: dict[tuple[str, str], str] = {}
    for edge in picture.edges:
        ends = home.get(edge.source, edge.source), home.get(edge.target, edge.target)
        if ends[0] != ends[1] and (ends not in kinds or edge.kind == REUSE):
            kinds[ends] = edge.kind
    return (Edge(source=s, target=t, kind=kind) for (s, t), kind in kinds.items())
