"""What the peak is made of."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from memprop.errors import InvalidValueError
from memprop.traces.colors import CATEGORY_COLORS
from memprop.traces.figures.axes import LEGEND, axes_for, format_byte_axis, ink, share_of_text
from memprop.units import format_bytes

if TYPE_CHECKING:
    from memprop.traces.trace import Trace


def plot_breakdown(traces: Mapping[str, "Trace"], ax: Axes | None = None) -> Axes:
    """A bar for the peak of each step, stacked by category.

    Args:
        traces: steps by what they are called.
        ax: where to draw; a new figure if there is none.

    Raises:
        InvalidValueError: there is no step.
    """
    if not traces:
        raise InvalidValueError("there is no step to break down: give {'lean': trace, ...}")
    axes = axes_for(ax)
    peaks = [trace.peak_by_category() for trace in traces.values()]
    low = np.zeros(len(peaks))
    for name, color in CATEGORY_COLORS.items():
        sizes = np.array([peak[name] for peak in peaks])
        if sizes.any():
            label = name.replace("_", " ")
            axes.bar(range(len(peaks)), sizes, 0.7, bottom=low, color=color, label=label)
            low += sizes
    for place, total in enumerate(low.tolist()):
        axes.text(place, total, format_bytes(total), ha="center", va="bottom", color=ink(axes))
    axes.set_xticks(range(len(peaks)), list(traces), parse_math=False)
    axes.set_xlim(-0.6, len(peaks) - 0.4)
    axes.set_ylim(0, low.max() / (1 - share_of_text(axes, lines=1.5)))
    axes.set_ylabel("live bytes at the peak")
    format_byte_axis(axes)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], **LEGEND)
    return axes
