"""The lives of the cached intermediates."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from memprop.traces.colors import CATEGORY_COLORS
from memprop.traces.figures.axes import LEGEND, axes_for, ink
from memprop.traces.figures.phases import mark_phases
from memprop.traces.intermediates import lives
from memprop.units import format_bytes

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

MOST_BARS: Final = 40
"""More lifetimes than this in one figure cannot be read; the largest are shown."""


def plot_lifetimes(trace: "Trace", ax: Axes | None = None) -> Axes:
    """A bar for the life of every cached intermediate, with a mark at each reuse by backward.

    One that is computed again has a bar for each of its lives; those in which backward does not
    read it are pale. Of more than 40 the largest are shown.

    Args:
        trace: one step, run or simulated.
        ax: where to draw; a new figure if there is none.
    """
    axes = axes_for(ax)
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
            _mark_reuses(axes, life.reused_at, row)
    sizes = (format_bytes(size) for size in table["bytes"])
    labels = [f"{v}  {s}" for v, s in zip(table["variable"], sizes, strict=True)]
    axes.set_yticks(rows, labels, parse_math=False)
    axes.invert_yaxis()
    mark_phases(axes, trace)
    axes.set_xlim(0, end)
    _legend(axes, sorted(set(table["category"])))
    return axes


def _mark_reuses(axes: Axes, events: Sequence[int], row: int) -> None:
    at = [row] * len(events)
    axes.plot(events, at, "|", color=ink(axes), markersize=11, markeredgewidth=2)


def _legend(axes: Axes, categories: Sequence[str]) -> None:
    reuse = Line2D([], [], color=ink(axes), marker="|", markersize=11, linestyle="", label="reuse")
    bars = [Patch(color=CATEGORY_COLORS[name], label=name.replace("_", " ")) for name in categories]
    axes.legend(handles=[*bars, reuse], **LEGEND)
