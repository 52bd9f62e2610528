"""What the peak is made of."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.axes import Axes

from memprop.errors import InvalidValueError
from memprop.traces.colors import CATEGORY_COLORS
from memprop.traces.figures.axes import LEGEND, axes_for, format_byte_axis, ink, share_of_text
from memprop.units import format_bytes

if TYPE_CHECKING:
    from memprop.traces.trace import Trace


_BAR: Final = 0.7
"""The width of a bar, where the middles of two are 1 apart."""
_MARGIN: Final = 0.25
"""The space next to the outermost of several bars."""
_MARGIN_OF_ONE: Final = 1.0
"""The space next to a single bar, which would fill the figure."""


def plot_breakdown(traces: "Trace | Mapping[str, Trace]", ax: Axes | None = None) -> Axes:
    """A bar for the peak of each step, stacked by category.

    Args:
        traces: one step, called by its schedule if it has one; or steps by what they are called.
        ax: where to draw; a new figure if there is none.

    Raises:
        InvalidValueError: there is no step.
    """
    steps = traces if isinstance(traces, Mapping) else {_name(traces): traces}
    if not steps:
        raise InvalidValueError("there is no step to break down: give {'lean': trace, ...}")
    axes = axes_for(ax)
    peaks = [trace.peak_by_category() for trace in steps.values()]
    low = np.zeros(len(peaks))
    for name, color in CATEGORY_COLORS.items():
        sizes = np.array([peak[name] for peak in peaks])
        if sizes.any():
            label = name.replace("_", " ")
            axes.bar(range(len(peaks)), sizes, _BAR, bottom=low, color=color, label=label)
            low += sizes
    for place, total in enumerate(low.tolist()):
        axes.text(place, total, format_bytes(total), ha="center", va="bottom", color=ink(axes))
    axes.set_xticks(range(len(peaks)), list(steps), parse_math=False)
    margin = _BAR / 2 + (_MARGIN if len(peaks) > 1 else _MARGIN_OF_ONE)
    axes.set_xlim(-margin, len(peaks) - 1 + margin)
    axes.set_ylim(0, low.max() / (1 - share_of_text(axes, lines=1.5)))
    axes.set_ylabel("live bytes at the peak")
    format_byte_axis(axes)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], **LEGEND)
    return axes


def _name(trace: "Trace") -> str:
    """What the bar of one step is called."""
    return str(trace.about.get("schedule", "step"))
