"""What the colours and lines of a picture mean: only those that are in it."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from memprop.graph.picture.layout import Point
from memprop.graph.picture.picture import Picture
from memprop.graph.picture.shades import Scale
from memprop.graph.picture.sizes import LINE_POINTS, text_width
from memprop.graph.picture.styles import EDGE_STYLES
from memprop.units import format_bytes

SAMPLE: Final = 22.0
"""The width of the line or box before a text."""

_GAP: Final = 14.0
_LINE: Final = 18.0
_SHADES: Final = 5


class Entry(NamedTuple):
    """One sample and its meaning.

    Attributes:
        sample: "edge", "shade", "cached", "again" or "text".
        which: the kind of the edge, or the colour of the shade.
        meaning: in words.
    """

    sample: str
    which: str
    meaning: str


class Placed(NamedTuple):
    """An entry, and where the middle of its left side is."""

    entry: Entry
    at: Point


def entries(picture: Picture, scale: Scale) -> Iterator[Entry]:
    """The caption, then what is in ``picture``."""
    yield Entry("text", "", picture.caption)
    used = {edge.kind for edge in picture.edges}
    if len(used) > 1:
        yield from (Entry("edge", k, s.meaning) for k, s in EDGE_STYLES.items() if k in used)
    if any(node.cached for node in picture.nodes):
        yield Entry("cached", "", "cached for backward")
    if any(node.is_recomputed for node in picture.nodes):
        yield Entry("again", "", "computed again")
    steps = scale.steps(_SHADES) if scale.most > scale.fewest else [scale.most]
    yield from (Entry("shade", scale.shade(size), format_bytes(size)) for size in steps)


def place(listed: Sequence[Entry], width: float) -> list[Placed]:
    """The entries in lines of at most ``width`` points, from (0, 0) downwards."""
    placed: list[Placed] = []
    x, y = 0.0, -_LINE / 2
    for entry in listed:
        own = width_of(entry)
        if placed and x + own > width:
            x, y = 0.0, y - _LINE
        placed.append(Placed(entry, Point(x, y)))
        x += own + _GAP
    return placed


def width_of(entry: Entry) -> float:
    """The points that an entry takes from left to right."""
    sample = 0.0 if entry.sample == "text" else SAMPLE + 4
    return sample + text_width(entry.meaning, LINE_POINTS)


def bottom(placed: Sequence[Placed]) -> float:
    """The lowest point of the legend."""
    return min(at.y for _, at in placed) - _LINE / 2
