"""Figures of one trace: live bytes over the step, and the lives of the cached intermediates."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from memprop.terms import CATEGORIES, PHASES
from memprop.traces.colors import CATEGORY_COLORS
from memprop.traces.intermediates import lives
from memprop.units import format_bytes

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

_LEGEND: Final[dict[str, Any]] = {
    "loc": "upper left",
    "bbox_to_anchor": (1.01, 1),
    "frameon": False,
}

_FORWARD: Final = (PHASES.index("forward"), PHASES.index("loss"))

_MANY_EVENTS: Final = 1000
"""From here on the areas of a timeline are pixels in an SVG, which would take megabytes else."""

MOST_BARS: Final = 40
"""More lifetimes than this in one figure cannot be read; the largest are shown."""


def plot_timeline(trace: "Trace", ax: Axes | None = None, *, top: float | None = None) -> Axes:
    """Live bytes after each event, stacked by category, with the peak marked.

    Args:
        trace: one step, run or simulated.
        ax: where to draw; a new figure if there is none.
        top: bytes at the upper end of the axis, to draw several steps on one scale.
    """
    axes = _axes(ax)
    live = trace.live
    events = np.arange(len(trace.events) + 1)
    present = [name for name in CATEGORY_COLORS if live.by_category[:, _column(name)].any()]
    heights = np.array([live.by_category[:, _column(name)] for name in present])
    axes.stackplot(
        events,
        np.hstack([heights, heights[:, -1:]]),
        step="post",
        labels=[name.replace("_", " ") for name in present],
        colors=[CATEGORY_COLORS[name] for name in present],
        linewidth=0,
        rasterized=len(trace.events) > _MANY_EVENTS,
    )
    _mark_peak(axes, trace)
    _mark_phases(axes, trace)
    axes.set_xlim(0, len(trace.events))
    axes.set_ylim(0, top or trace.peak * 1.18)
    axes.set_ylabel("live bytes")
    format_byte_axis(axes)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], **_LEGEND)
    return axes


def plot_lifetimes(trace: "Trace", ax: Axes | None = None) -> Axes:
    """A bar for the life of every cached intermediate, with a mark at each reuse by backward.

    One that is computed again has a bar for each of its lives; those in which backward does not
    read it are pale.

    Args:
        trace: one step, run or simulated.
        ax: where to draw; a new figure if there is none.
    """
    axes = _axes(ax)
    table = trace.intermediates()
    if len(table) > MOST_BARS:
        table = table.nlargest(MOST_BARS, "bytes").sort_values("born")
    end, rows = len(trace.events), range(len(table))
    row_of = dict(zip(table["variable"], rows, strict=True))
    for life in lives(trace):
        variable = trace.variables[life.variable]
        if variable.name in row_of:
            row, color = row_of[variable.name], CATEGORY_COLORS[variable.category]
            length = (end if life.freed is None else life.freed) - life.born
            axes.barh(row, length, left=life.born, color=color, alpha=1 if life.reused_by else 0.35)
            reads = life.reused_at
            axes.plot(reads, [row] * len(reads), "k|", markersize=11, markeredgewidth=2)
    sizes = (format_bytes(size) for size in table["bytes"])
    labels = [f"{v}  {s}" for v, s in zip(table["variable"], sizes, strict=True)]
    axes.set_yticks(rows, labels, parse_math=False)
    axes.invert_yaxis()
    _mark_phases(axes, trace)
    axes.set_xlim(0, end)
    _lifetime_legend(axes, sorted(set(table["category"])))
    return axes


def format_byte_axis(axes: Axes, which: str = "y") -> None:
    """Label an axis in IEC units at round numbers of them."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    low, high = axes.get_ylim() if which == "y" else axes.get_xlim()
    # The unit in which the largest label has a round number of at least two.
    unit = 1024.0 ** max(0, int(np.log2(max(high, 1)) - 1) // 10)
    locator = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10])
    ticks = np.asarray(locator.tick_values(low / unit, high / unit)) * unit
    axis.set_ticks(ticks[(ticks >= low) & (ticks <= high)].tolist())
    name = ("B", "KiB", "MiB", "GiB", "TiB")[round(np.log2(unit)) // 10]
    axis.set_major_formatter(FuncFormatter(lambda size, _: f"{size / unit:g} {name}"))


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    return plt.subplots(figsize=(10, 4.8), layout="constrained")[1]


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
        parse_math=False,  # names are the user's, and may have dollars in them
        arrowprops={"arrowstyle": "-", "color": "black"},
    )


def _mark_phases(axes: Axes, trace: "Trace") -> None:
    """A line at the beginning of each phase, and its name under the axis.

    What runs between the first and the last backward operator is one stretch; forward operators in
    it, those of a recomputation or of a further slice, are shaded.
    """
    phase = trace.events.phase.copy()
    backward = np.flatnonzero(phase == PHASES.index("backward"))
    if len(backward):
        stretch = slice(backward[0], backward[-1] + 1)
        _shade(axes, np.isin(phase[stretch], _FORWARD), int(backward[0]))
        phase[stretch] = PHASES.index("backward")
    starts = np.flatnonzero(np.diff(phase, prepend=-1))
    edges = [*starts.tolist(), len(phase)]
    for start in edges[:-1]:
        axes.axvline(start, color="black", linewidth=0.6, alpha=0.5)
    middles = [(a + b) / 2 for a, b in pairwise(edges)]
    wide = [b - a >= len(phase) * 0.045 for a, b in pairwise(edges)]
    axes.set_xticks(
        [middle for middle, room in zip(middles, wide, strict=True) if room],
        [trace.phases[phase[start]] for start, room in zip(edges, wide, strict=False) if room],
        parse_math=False,
    )
    axes.tick_params(axis="x", length=0)


def _shade(axes: Axes, wanted: np.ndarray, start: int) -> None:
    """A grey band over each run of true in ``wanted``, whose first element is event ``start``."""
    edges = np.flatnonzero(np.diff(wanted.astype(np.int8), prepend=0, append=0)) + start
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        band = axes.axvspan(begin, end, color="black", alpha=0.12, linewidth=0, zorder=3)
        band.set_label("forward, between backward" if begin == edges[0] else "_")


def _lifetime_legend(axes: Axes, categories: Sequence[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        *(Patch(color=CATEGORY_COLORS[name], label=name.replace("_", " ")) for name in categories),
        Line2D([], [], color="black", marker="|", markersize=11, linestyle="", label="reuse"),
    ]
    axes.legend(handles=handles, **_LEGEND)
