"""Lines, arrow heads and text as patches of matplotlib in the units of the axes."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from memprop.graph.picture.layout import Point
from memprop.graph.picture.sizes import LEADING, LINE_POINTS, TITLE_POINTS, text_path
from memprop.graph.picture.styles import INK, EdgeStyle

_HEAD_LENGTH = 6.0
_HEAD_WIDTH = 4.4


def curve(points: Sequence[Point]) -> Path:
    """Straight from the first point to the second, bent to the third, straight to the fourth ..."""
    vertices, codes = [points[0]], [Path.MOVETO]
    for place, (a, b) in enumerate(pairwise(points)):
        if place % 2 == 0:
            vertices.append(b)
            codes.append(Path.LINETO)
        else:
            half = (a.x + b.x) / 2
            vertices += [Point(half, a.y), Point(half, b.y), b]
            codes += [Path.CURVE4] * 3
    return Path(vertices, codes)


def head(points: Sequence[Point]) -> Path:
    """The tip of an arrow that ends at the last point, which it reaches horizontally."""
    tip = points[-1]
    back = tip.x - _HEAD_LENGTH * (1 if tip.x > points[0].x else -1)
    half = _HEAD_WIDTH / 2
    return Path([tip, (back, tip.y + half), (back, tip.y - half), tip], closed=True)


def arrow(points: Sequence[Point], style: EdgeStyle, name: str) -> Iterable[PathPatch]:
    """The line and the tip of an edge."""
    line = PathPatch(
        curve(points),
        facecolor="none",
        edgecolor=style.color,
        linewidth=1.0,
        linestyle=(0, (4, 2)) if style.dashed else "solid",
        gid=name,
        zorder=1,
    )
    return line, PathPatch(head(points), facecolor=style.color, linewidth=0, zorder=1.5)


def block(lines: Sequence[str], center: Point) -> PathPatch:
    """Lines of text, centred; the first is the title."""
    sizes = [LINE_POINTS if n else TITLE_POINTS for n in range(len(lines))]
    top = center.y + LEADING * sum(sizes) / 2
    paths = []
    for line, points in zip(lines, sizes, strict=True):
        top -= LEADING * points
        path = text_path(line, points)
        box = path.get_extents()
        shift = (center.x - (box.x0 + box.x1) / 2, top + 0.35 * points)
        paths.append(Path(np.asarray(path.vertices) + shift, path.codes))
    return _filled(paths)


def left_text(line: str, at: Point) -> PathPatch:
    """One line of text that begins at a point, its middle at that height."""
    shift = np.array([at.x, at.y - 0.35 * LINE_POINTS])
    path = text_path(line, LINE_POINTS)
    return _filled([Path(np.asarray(path.vertices) + shift, path.codes)])


def _filled(paths: Sequence[Path]) -> Any:
    whole = Path.make_compound_path(*paths)
    return PathPatch(whole, facecolor=INK, linewidth=0, zorder=4)
