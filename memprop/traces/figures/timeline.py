"""Live bytes over a step."""

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.axes import Axes

from memprop.terms import CATEGORIES
from memprop.traces.colors import CATEGORY_COLORS
from memprop.traces.downsample import downsample
from memprop.traces.figures.axes import LEGEND, axes_for, format_byte_axis, ink, share_of_text
from memprop.traces.figures.phases import mark_phases
from memprop.units import format_bytes

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

_MOST_STEPS: Final = 1000
"""More than a figure has room for: of a longer step each of so many stretches is drawn at its
highest event. The peak is among them, and a vector file stays small."""


def plot_timeline(trace: "Trace", ax: Axes | None = None, *, top: float | None = None) -> Axes:
    """Live bytes after each event, stacked by category, with the peak marked.

    Args:
        trace: one step, run or simulated.
        ax: where to draw; a new figure if there is none.
        top: bytes at the upper end of the axis, to draw several steps on one scale.
    """
    axes = axes_for(ax)
    live = trace.live
    drawn = downsample(live.total, _MOST_STEPS)
    present = [name for name in CATEGORY_COLORS if live.by_category[:, _column(name)].any()]
    heights = np.array([live.by_category[drawn, _column(name)] for name in present])
    axes.stackplot(
        [0, *drawn[1:], len(trace.events)],
        np.hstack([heights, heights[:, -1:]]),
        step="post",
        labels=[name.replace("_", " ") for name in present],
        colors=[CATEGORY_COLORS[name] for name in present],
        linewidth=0,
    )
    _mark_peak(axes, trace)
    mark_phases(axes, trace)
    axes.set_xlim(0, len(trace.events))
    axes.set_ylim(0, top or trace.peak / (1 - share_of_text(axes, lines=3)))
    axes.set_ylabel("live bytes")
    format_byte_axis(axes)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], **LEGEND)
    return axes


def _column(category: str) -> int:
    return CATEGORIES.index(category)


def _mark_peak(axes: Axes, trace: "Trace") -> None:
    axes.annotate(
        f"peak {format_bytes(trace.peak)}\nat {trace.peak_operator}",
        xy=(trace.peak_event + 0.5, trace.peak),
        xytext=(0, 10),
        textcoords="offset points",
        ha="right" if trace.peak_event > len(trace.events) / 2 else "left",
        va="bottom",
        color=ink(axes),
        parse_math=False,  # names are the user's, and may have dollars in them
        arrowprops={"arrowstyle": "-", "color": ink(axes)},
    )
