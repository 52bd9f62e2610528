"""Columns and rows of a picture, by a library for layered drawings.

fast-sugiyama (Sugiyama, Tagawa & Toda 1981, ranks by network simplex) splits an edge over several
columns into pieces that have a place of their own in each column, as if they were nodes.

For the columns the backward pass is read against its direction: ∂J/∂h then stands by h, and what
backward reuses is near. Several parts that hang together by no edge stand above each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from memprop.graph.picture.picture import Edge, Node, Picture


class Place(NamedTuple):
    """A column, counted from the left, and a height in units of a row."""

    column: int
    row: float


class Grid(NamedTuple):
    """Where nodes and edges stand.

    Attributes:
        nodes: the places of the nodes by key.
        pieces: of each edge, by source and target, the places of its pieces in the columns
            between the two, from left to right.
    """

    nodes: Mapping[str, Place]
    pieces: Mapping[tuple[str, str], tuple[Place, ...]]


def grid_of(picture: Picture) -> Grid:
    """The places of everything in ``picture``."""
    import fast_sugiyama

    keys = [node.key for node in picture.nodes]
    numbers = {key: number for number, key in enumerate(keys)}
    ends = {_left_to_right(edge, picture): edge for edge in picture.edges}
    layouts = fast_sugiyama.from_edges(
        [(numbers[left], numbers[right]) for left, right in ends],
        minimum_length=1,
        vertex_spacing=1,
        dummy_vertices=True,
        dummy_size=0.5,
        ranking_type="minimize",
    )
    parts = [_Part(layout, len(keys)) for layout in layouts]
    nodes: dict[str, Place] = {}
    pieces: dict[tuple[str, str], tuple[Place, ...]] = {}
    lowest = 0.0
    for part in parts:
        places = part.places(lowest, upside_down=_is_upside_down(part, picture.nodes))
        nodes |= {keys[number]: place for number, place in places.items() if number < len(keys)}
        for (left, right), edge in ends.items():
            if numbers[left] in places:
                chain = part.between(numbers[left], numbers[right])
                pieces[edge.source, edge.target] = tuple(places[piece] for piece in chain)
        lowest = max(place.row for place in places.values()) + 1
    return Grid(nodes, pieces)


def _left_to_right(edge: Edge, picture: Picture) -> tuple[str, str]:
    backward = picture.by_key[edge.source].is_backward
    return (edge.target, edge.source) if backward else (edge.source, edge.target)


class _Part:
    """Nodes that hang together, and the pieces of their edges: numbers from ``count`` on."""

    def __init__(self, layout: Any, count: int) -> None:
        found, _, self.depth, edges = layout
        # The library draws from the top down.
        self.found: Mapping[int, tuple[float, float]] = dict(found)
        self.count = count
        self.after: dict[int, list[int]] = {}
        for before, after in edges:
            self.after.setdefault(before, []).append(after)

    def places(self, lowest: float, *, upside_down: bool) -> dict[int, Place]:
        rows = [row for row, _ in self.found.values()]
        return {
            number: Place(
                round(self.depth - down),
                lowest + (max(rows) - row if upside_down else row - min(rows)),
            )
            for number, (row, down) in self.found.items()
        }

    def between(self, left: int, right: int) -> Sequence[int]:
        """The pieces of the edge from ``left`` to ``right``."""
        for begin in self.after[left]:
            chain = [begin]
            while chain[-1] >= self.count:
                chain += self.after[chain[-1]]
            if chain[-1] == right:
                return chain[:-1]
        raise AssertionError  # every edge that was given comes back


def _is_upside_down(part: _Part, nodes: Sequence[Node]) -> bool:
    """Whether the forward pass would stand below the backward, or its end below its beginning."""
    numbered = [(n, node) for n, node in enumerate(nodes) if n in part.found]
    forward = [part.found[n][0] for n, node in numbered if not node.is_backward]
    backward = [part.found[n][0] for n, node in numbered if node.is_backward]
    if forward and backward:
        return _mean(forward) < _mean(backward)
    by_column = sorted((-part.found[n][1], part.found[n][0]) for n, _ in numbered)
    return by_column[-1][1] < by_column[0][1]


def _mean(numbers: Iterable[float]) -> float:
    listed = list(numbers)
    return sum(listed) / len(listed)
