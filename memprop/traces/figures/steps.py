"""The steps of a loop: how high each rises, and what each leaves behind."""

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from memprop.errors import InvalidValueError
from memprop.traces.colors import CATEGORY_COLORS
from memprop.traces.figures.axes import LEGEND, axes_for, format_byte_axis, ink, share_of_text
from memprop.units import format_bytes

if TYPE_CHECKING:
    import pandas as pd

_LIVE: Final = CATEGORY_COLORS["activation"]
_MOST_MARKS: Final = 60
"""More steps than this are drawn without a mark at each."""


def plot_steps(table: "pd.DataFrame", ax: Axes | None = None) -> Axes:
    """The peak of each step of a loop, and what is alive when it ends; a leak is a slope.

    What is alive at the end is filled, and darker where it is more than after the first step, which
    the dotted line goes on from. Below stands by how much the last step differs from the first.
    Where bytes are missing, a line has a gap.

    >>> mp.plot.steps(prof.steps())  # doctest: +SKIP

    Args:
        table: of ``steps()``: its columns ``step``, ``peak_bytes`` and ``live_bytes`` are drawn.
        ax: where to draw; a new figure if there is none.

    Raises:
        InvalidValueError: there is no step, or no number of live bytes.
    """
    live = table["live_bytes"].to_numpy(dtype=float)
    if not np.isfinite(live).any():
        raise InvalidValueError(
            "there is no step to draw: call step() at the end of each, and then steps()"
        )
    axes = axes_for(ax)
    step, peak = table["step"].to_numpy(), table["peak_bytes"].to_numpy(dtype=float)
    mark = "o" if len(step) <= _MOST_MARKS else ""
    style = {"marker": mark, "markersize": 3.5, "linewidth": 1.4}
    if np.isfinite(peak).any():
        axes.plot(step, peak, color=ink(axes), label="peak", **style)
    axes.plot(step, live, color=_LIVE, label="alive at the end", **style)
    axes.fill_between(step, live, color=_LIVE, alpha=0.25, linewidth=0)
    highest = float(np.nanmax(np.append(peak, live)))
    axes.set_ylim(0, max(highest, 1) / (1 - share_of_text(axes, lines=1.5)))
    axes.set_xlim(step[0] - 0.5, step[-1] + 0.5)
    _tell_growth(axes, step[np.isfinite(live)], live[np.isfinite(live)])
    axes.set_xlabel("step")
    axes.set_ylabel("live bytes")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    format_byte_axis(axes)
    axes.legend(**LEGEND)
    return axes


def _tell_growth(axes: Axes, step: np.ndarray, live: np.ndarray) -> None:
    """The level after the first step, and how far from it the last step has come."""
    first, last = float(live[0]), float(live[-1])
    steps = int(step[-1] - step[0])
    if not steps:
        return
    axes.plot([step[0], step[-1]], [first, first], ":", color=ink(axes), linewidth=1)
    grown = live > first
    if grown.any():
        label = f"more than after step {step[0]}"
        shade = {"color": _LIVE, "alpha": 0.6, "linewidth": 0, "label": label}
        axes.fill_between(step, first, live, where=grown.tolist(), interpolate=True, **shade)
    below = min(first, last)
    under = below / axes.get_ylim()[1] > share_of_text(axes, lines=2)
    axes.annotate(
        f"{_told(last - first)} in {steps} {'step' if steps == 1 else 'steps'}",
        xy=(step[-1], below if under else max(first, last)),
        xytext=(0, -7 if under else 7),
        textcoords="offset points",
        ha="right",
        va="top" if under else "bottom",
        color=ink(axes),
    )


def _told(growth: float) -> str:
    if not growth:
        return "no growth"
    return ("+" if growth > 0 else "\N{MINUS SIGN}") + format_bytes(abs(growth))
