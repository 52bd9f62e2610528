"""Where everything stands, in points: columns as wide as what is in them, edges around the nodes.

An edge leaves its column horizontally, bends in the gap between two columns, and passes a column in
between at the height that is kept free for it there; so it crosses no node.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from memprop.graph.picture.grid import Grid, Place, grid_of
from memprop.graph.picture.picture import Edge, Node, Picture
from memprop.graph.picture.ports import LEFT, RIGHT, Touch, offsets, reach
from memprop.graph.picture.sizes import Size, size_of

COLUMN_GAP: Final = 26.0
ROW_GAP: Final = 10.0


class Point(NamedTuple):
    """A place in points, from the lower left."""

    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Route:
    """The way of an edge from its source to its target.

    Attributes:
        edge: the edge.
        points: an even number: straight from the first to the second, bent to the third, straight
            to the fourth, and so on.
    """

    edge: Edge
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Places in points.

    Attributes:
        centers: of the nodes by key.
        sizes: of the nodes by key.
        routes: of the edges, in the picture's order.
        size: of the whole.
    """

    centers: Mapping[str, Point]
    sizes: Mapping[str, Size]
    routes: tuple[Route, ...]
    size: Size


class _Column(NamedTuple):
    left: float
    right: float

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


def lay_out(picture: Picture) -> Layout:
    """The layout of ``picture``; the same for the same picture."""
    grid = grid_of(picture)
    sizes = {node.key: size_of(node) for node in picture.nodes}
    columns = _columns(picture.nodes, grid, sizes)
    row = max(size.height for size in sizes.values()) + ROW_GAP
    places = {
        place: Point(columns[place.column].middle, (place.row + 0.5) * row)
        for place in (*grid.nodes.values(), *(p for chain in grid.pieces.values() for p in chain))
    }
    centers = {key: places[place] for key, place in grid.nodes.items()}
    return Layout(
        centers=centers,
        sizes=sizes,
        routes=tuple(_routes(picture, grid, places, columns, sizes)),
        size=Size(columns[-1].right, max(place.y for place in places.values()) + row / 2),
    )


def _columns(nodes: tuple[Node, ...], grid: Grid, sizes: Mapping[str, Size]) -> list[_Column]:
    widths: defaultdict[int, float] = defaultdict(float)
    for node in nodes:
        column = grid.nodes[node.key].column
        widths[column] = max(widths[column], sizes[node.key].width)
    columns: list[_Column] = []
    left = 0.0
    for number in range(max(widths) + 1):
        columns.append(_Column(left, left + widths[number]))
        left = columns[-1].right + COLUMN_GAP
    return columns


def _routes(
    picture: Picture,
    grid: Grid,
    places: Mapping[Place, Point],
    columns: list[_Column],
    sizes: Mapping[str, Size],
) -> Iterator[Route]:
    ways = [_left_to_right(edge, grid) for edge in picture.edges]
    lines = [[places[place] for place in way.chain] for way in ways]
    away = offsets(_touches(ways, lines), sizes)
    for number, (edge, way, line) in enumerate(zip(picture.edges, ways, lines, strict=True)):
        rise, sink = away[number, RIGHT], away[number, LEFT]
        begin = line[0].x + reach(picture.by_key[way.left], sizes[way.left], rise)
        end = line[-1].x - reach(picture.by_key[way.right], sizes[way.right], sink)
        heights = [line[0].y + rise, *(point.y for point in line[1:-1]), line[-1].y + sink]
        points = [
            Point(x, y)
            for place, y in zip(way.chain, heights, strict=True)
            for x in columns[place.column]
        ]
        points[0], points[-1] = Point(begin, heights[0]), Point(end, heights[-1])
        yield Route(edge=edge, points=tuple(points if way.left == edge.source else points[::-1]))


class _Way(NamedTuple):
    """An edge read from left to right: its two nodes, and all its places."""

    left: str
    right: str
    chain: tuple[Place, ...]


def _left_to_right(edge: Edge, grid: Grid) -> _Way:
    left, right = edge.source, edge.target
    if grid.nodes[right].column < grid.nodes[left].column:
        left, right = right, left
    pieces = grid.pieces[edge.source, edge.target]
    return _Way(left, right, (grid.nodes[left], *pieces, grid.nodes[right]))


def _touches(ways: list[_Way], lines: list[list[Point]]) -> Iterator[Touch]:
    for number, (way, line) in enumerate(zip(ways, lines, strict=True)):
        yield Touch(way.left, RIGHT, number, line[1].y)
        yield Touch(way.right, LEFT, number, line[-2].y)
