"""The picture drawn by matplotlib: one unit of the axes is one point of a figure of its own.

Text is drawn as outlines in these units, so it keeps its place in the boxes in axes of any size.
"""

from collections.abc import Iterator
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyBboxPatch, PathPatch, Rectangle

from memprop.graph.picture.layout import Layout, Point, lay_out
from memprop.graph.picture.legend import SAMPLE, Placed, bottom, entries, place, width_of
from memprop.graph.picture.outlines import arrow, block, left_text
from memprop.graph.picture.picture import GROUP, OPERATOR, Node, Picture
from memprop.graph.picture.shades import Scale, scale_of
from memprop.graph.picture.sizes import Size
from memprop.graph.picture.styles import AGAIN, CACHED, EDGE_STYLES, INK

_MARGIN: Final = 12.0
_NARROWEST: Final = 330.0
"""The width of a legend under a narrow picture."""

_RING: Final = 2.6
"""From the border of a node to its second border."""


def plot(picture: Picture, ax: Axes | None = None) -> Axes:
    """``picture`` in ``ax``, or in a figure of its own size.

    Args:
        picture: what to draw.
        ax: where; its limits and aspect are set, its frame and ticks taken away.
    """
    layout = lay_out(picture)
    scale = scale_of(node.bytes for node in picture.nodes)
    width = max(layout.size.width, _NARROWEST)
    legend = place(list(entries(picture, scale)), width)
    width = max(width, *(width_of(entry) + at.x for entry, at in legend))
    low = bottom(legend) - _MARGIN
    whole = Size(width + 2 * _MARGIN, layout.size.height + _MARGIN - low)
    axes = _own_axes(whole) if ax is None else ax
    for patch in (*_edges(layout), *_nodes(picture, layout, scale), *_legend(legend)):
        axes.add_patch(patch)
    axes.set_xlim(-_MARGIN, width + _MARGIN)
    axes.set_ylim(low, layout.size.height + _MARGIN)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return axes


def _own_axes(size: Size) -> Axes:
    import matplotlib.pyplot as plt

    figure: Figure = plt.figure(figsize=(size.width / 72, size.height / 72))
    return figure.add_axes((0, 0, 1, 1))


def _edges(layout: Layout) -> Iterator[PathPatch]:
    for route in layout.routes:
        edge = route.edge
        yield from arrow(route.points, EDGE_STYLES[edge.kind], f"{edge.source} to {edge.target}")


def _nodes(picture: Picture, layout: Layout, scale: Scale) -> Iterator[Any]:
    for node in picture.nodes:
        center, size = layout.centers[node.key], layout.sizes[node.key]
        yield _outline(
            node,
            center,
            size,
            facecolor=scale.shade(node.bytes),
            edgecolor=CACHED if node.cached else INK,
            linewidth=2.2 if node.cached else 0.8,
            gid=node.key,
            zorder=3,
        )
        if node.is_recomputed:
            ring = Size(size.width + 2 * _RING, size.height + 2 * _RING)
            yield _outline(
                node, center, ring, facecolor="none", edgecolor=AGAIN, linewidth=1.4, zorder=3
            )
        text = block((node.title, *node.lines), center)
        text.set_gid(f"label of {node.key}")
        yield text


def _outline(node: Node, center: Point, size: Size, **look: Any) -> Any:
    if node.kind == OPERATOR:
        return Ellipse(center, size.width, size.height, **look)
    corner = (center.x - size.width / 2, center.y - size.height / 2)
    if node.kind == GROUP:
        return FancyBboxPatch(
            corner, size.width, size.height, boxstyle="round,pad=0,rounding_size=9", **look
        )
    return Rectangle(corner, size.width, size.height, **look)


def _legend(legend: list[Placed]) -> Iterator[Any]:
    for entry, at in legend:
        indent = 0.0 if entry.sample == "text" else SAMPLE + 4
        yield left_text(entry.meaning, Point(at.x + indent, at.y))
        if entry.sample == "edge":
            ends = (at, Point(at.x + SAMPLE, at.y))
            yield from arrow(ends, EDGE_STYLES[entry.which], f"legend {entry.which}")
        elif entry.sample != "text":
            yield _sample(entry.sample, entry.which, at)


def _sample(sample: str, shade: str, at: Point) -> Rectangle:
    border = {"cached": (CACHED, 2.2), "again": (AGAIN, 1.4)}
    color, width = border.get(sample, (INK, 0.8))
    return Rectangle(
        (at.x, at.y - 5),
        SAMPLE,
        10,
        facecolor=shade or "none",
        edgecolor=color,
        linewidth=width,
        zorder=3,
    )
