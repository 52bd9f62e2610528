"""Axes in bytes, and what the figures share."""

from typing import Any, Final

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.typing import ColorType

LEGEND: Final[dict[str, Any]] = {
    "loc": "upper left",
    "bbox_to_anchor": (1.01, 1),
    "frameon": False,
}


def axes_for(ax: Axes | None) -> Axes:
    """``ax``, or the axes of a new figure."""
    if ax is not None:
        return ax
    return plt.subplots(figsize=(10, 4.8), layout="constrained")[1]


def ink(axes: Axes) -> ColorType:
    """The colour in which the axes are labelled, for lines and marks: dark styles have it light."""
    return axes.xaxis.label.get_color()


def share_of_text(axes: Axes, *, lines: float = 0, characters: float = 0) -> float:
    """About the share of the height of ``axes`` that lines take, or of its width a line of text.

    A layout that makes room for a legend comes later, and makes the axes a third narrower.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - these axes are in one
    size = plt.rcParams["font.size"]
    width, height = (inches * 72 for inches in figure.get_size_inches() * axes.get_position().size)
    return lines * 1.25 * size / height + characters * 0.6 * size / (0.67 * width)


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
