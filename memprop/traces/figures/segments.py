"""The segments of a GPU's allocator, and what they come to over a step."""

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from memprop.traces.colors import CATEGORY_COLORS
from memprop.traces.figures.axes import LEGEND, axes_for, format_byte_axis, ink
from memprop.traces.figures.phases import mark_phases
from memprop.units import format_bytes

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

_LINES: Final = 16
"""So many lines the segments are written in."""
_FREE: Final = "#e4e4e4"
_UNKNOWN: Final = "#8c8c8c"
_HEIGHT: Final = 0.72
_OUTLINED: Final = 1 / 500
"""Blocks below this share of a line would be all outline."""


def plot_segments(trace: "Trace", ax: Axes | None = None, *, event: int | None = None) -> Axes:
    """The segments of the allocator as one map of memory, line by line, the largest first.

    Blocks have the colour of what lives in them; what is free is light grey. Segments begin at the
    long marks. Each block is a rectangle among ``ax.patches`` whose label says what it is.

    Args:
        trace: one step that asks the allocator of a GPU.
        ax: where to draw; a new figure if there is none.
        event: when; where most is reserved if not given.

    Raises:
        InvalidValueError: the step asks no such allocator, or there is no such event.
    """
    blocks = _laid_out(trace.segments(event))
    axes = axes_for(ax)
    total = int(blocks["bytes"].sum())
    width = max(1, -(-total // _LINES))
    for row in blocks.to_dict(orient="records"):
        _draw(axes, row, width)
    begins = blocks.loc[blocks["segment"].diff() != 0, "begin"].to_numpy()
    line = begins // width
    axes.vlines(begins % width, line, line + 1, color=ink(axes), linewidth=0.8)
    free = int(blocks["bytes"][blocks["state"] == "free"].sum())
    axes.set_xlim(0, width)
    axes.set_ylim(-(-total // width), 0)
    axes.set_yticks([])
    axes.set_xlabel(
        f"{format_bytes(total)} in {blocks['segment'].nunique()} segments, of which "
        f"{format_bytes(free)} are free; a line is {format_bytes(width)}"
    )
    format_byte_axis(axes, "x")
    present = [name for name in CATEGORY_COLORS if (blocks["category"] == name).any()]
    handles = [Patch(color=CATEGORY_COLORS[name], label=name.replace("_", " ")) for name in present]
    free_patch = Patch(facecolor=_FREE, edgecolor=ink(axes), label="free", linewidth=0.6)
    axes.legend(handles=[*handles, free_patch], **LEGEND)
    return axes


def _laid_out(blocks: pd.DataFrame) -> pd.DataFrame:
    """The blocks, segment after segment, the largest first, each with where it begins."""
    ordered = blocks.sort_values(
        ["segment_bytes", "segment", "address"], ascending=[False, True, True], ignore_index=True
    )
    return ordered.assign(begin=ordered["bytes"].cumsum() - ordered["bytes"])


def _draw(axes: Axes, row: dict, width: int) -> None:
    """A block, in as many pieces as it has lines."""
    begin, end = row["begin"], row["begin"] + row["bytes"]
    is_free = row["state"] == "free"
    color = _FREE if is_free else CATEGORY_COLORS.get(row["category"], _UNKNOWN)
    what = "free" if is_free else row["variable"] or "from before the step"
    label = (
        f"{what}\n{format_bytes(row['bytes'])} in segment {row['segment']} of "
        f"{format_bytes(row['segment_bytes'])}"
    )
    while begin < end:
        line = begin // width
        until = min(end, (line + 1) * width)
        axes.add_patch(
            Rectangle(
                (begin - line * width, line + (1 - _HEIGHT) / 2),
                until - begin,
                _HEIGHT,
                facecolor=color,
                edgecolor=ink(axes),
                linewidth=0.3 if row["bytes"] > width * _OUTLINED else 0,
                label=label,
            )
        )
        begin = until


def plot_reserved(trace: "Trace", ax: Axes | None = None) -> Axes:
    """What the allocator of a GPU has reserved and allocated over a step, and what is live.

    Args:
        trace: one step that asks the allocator of a GPU.
        ax: where to draw; a new figure if there is none.

    Raises:
        InvalidValueError: the step asks no such allocator.
    """
    replay = trace.replay()
    axes = axes_for(ax)
    end = len(trace.events)
    curves = {
        "reserved": (replay.reserved, "-"),
        "allocated": (replay.allocated, "-"),
        "live, by the ledger": (trace.live.total, ":"),
    }
    colors = (ink(axes), CATEGORY_COLORS["activation"], CATEGORY_COLORS["parameter"])
    for (name, (levels, style)), color in zip(curves.items(), colors, strict=True):
        changed = np.flatnonzero(np.diff(levels, prepend=-1))
        axes.step(
            np.append(changed, end),
            np.append(levels[changed], levels[-1]),
            style,
            where="post",
            color=color,
            label=name,
            linewidth=1.2,
        )
    mark_phases(axes, trace)
    axes.set_xlim(0, end)
    axes.set_ylim(0, replay.reserved_peak * 1.08)
    axes.set_ylabel("bytes")
    format_byte_axis(axes)
    axes.legend(**LEGEND)
    return axes
