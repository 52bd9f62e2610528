"""How large nodes and texts are, in points; text is measured in the font that draws it."""

from functools import lru_cache
from typing import Any, Final, NamedTuple

from memprop.graph.picture.picture import GROUP, OPERATOR, Node

TITLE_POINTS: Final = 10.0
LINE_POINTS: Final = 7.0
LEADING: Final = 1.3
"""Distance of two lines of text, in heights of the font."""

_PADDING: Final = 7.0


class Size(NamedTuple):
    """Width and height in points."""

    width: float
    height: float


def size_of(node: Node) -> Size:
    """The space that a node takes: a square, an ellipse around its text, or a box."""
    text = text_size(node)
    if node.kind == OPERATOR:
        # An ellipse around a box of text is sqrt(2) times as wide and high.
        return Size(max(text.width * 1.2, text.height * 1.5) + _PADDING, text.height * 1.5)
    if node.kind == GROUP:
        return Size(text.width + 3 * _PADDING, text.height + 3 * _PADDING)
    side = max(text) + 2 * _PADDING
    return Size(side, side)


def text_size(node: Node) -> Size:
    """The space that the title of a node and the lines under it take."""
    widths = [text_width(node.title, TITLE_POINTS)]
    widths += [text_width(line, LINE_POINTS) for line in node.lines]
    return Size(max(widths), LEADING * (TITLE_POINTS + LINE_POINTS * len(node.lines)))


@lru_cache(maxsize=4096)
def text_width(text: str, points: float) -> float:
    """The width of one line of text in points; dollars in it are dollars."""
    if not text:
        return 0.0
    return float(text_path(text, points).get_extents().width)


def text_path(text: str, points: float) -> Any:
    """One line of text as an outline (a Path of matplotlib) from (0, 0)."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=points)
    vertices, codes = text_to_path.get_text_path(font, text, ismath=False)
    # The outlines come in units of the font's own size.
    scale = points / text_to_path.FONT_SCALE if len(vertices) else 1.0
    return Path([(x * scale, y * scale) for x, y in vertices], codes, closed=False)
