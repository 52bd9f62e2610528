"""Memory against time: the curve of what the planner can do, with points beside it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from memprop.errors import InvalidValueError
from memprop.traces.figures.axes import LEGEND, axes_for, format_byte_axis, ink

if TYPE_CHECKING:
    import pandas as pd


def plot_frontier(
    table: "pd.DataFrame",
    ax: Axes | None = None,
    *,
    points: Mapping[str, tuple[float, float]] | None = None,
    label: str = "planned",
) -> Axes:
    """The peak of each plan against the time that it takes, as steps: more memory, less time.

    >>> mp.plot.frontier(mp.frontier(mp.MLP([64, 256, 10]), batch=256))  # doctest: +SKIP

    Args:
        table: of :func:`memprop.frontier` or :func:`memprop.torch.frontier`: its columns
            ``peak_bytes`` and ``slowdown`` are drawn.
        ax: where to draw; a new figure if there is none.
        points: others by name, each with its peak in bytes and its slow-down.
        label: what the legend calls the curve.

    Raises:
        InvalidValueError: there is no plan.
    """
    if not len(table):
        raise InvalidValueError("there is no plan to draw: the table of frontier() has no row")
    axes = axes_for(ax)
    known = table.dropna(subset=["slowdown"]).sort_values(["peak_bytes", "slowdown"])
    # The table of a model has schedules by name, too, and some of these are no bargain.
    known = known[known["slowdown"] < known["slowdown"].cummin().shift(fill_value=float("inf"))]
    axes.plot(
        known["peak_bytes"],
        known["slowdown"],
        drawstyle="steps-post",
        color=ink(axes) if ax is None else None,
        marker="o",
        markersize=3,
        linewidth=1.4,
        label=label,
    )
    for name, (peak, slowdown) in (points or {}).items():
        axes.plot([peak], [slowdown], marker="s", markersize=6, linestyle="", label=name)
    axes.set_xlim(left=0)
    axes.set_xlabel("peak live bytes")
    axes.set_ylabel("slow-down")
    format_byte_axis(axes, "x")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(**LEGEND)
    return axes
