"""One step against another, category by category."""

from typing import TYPE_CHECKING, Final

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from memprop.traces.colors import CATEGORY_COLORS
from memprop.traces.figures.axes import LEGEND, axes_for, format_byte_axis, ink, share_of_text
from memprop.units import format_bytes

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

_PALE: Final = 0.4
_HEIGHT: Final = 0.38


def plot_comparison(
    a: "Trace", b: "Trace", ax: Axes | None = None, *, names: tuple[str, str] = ("a", "b")
) -> Axes:
    """What lives at the peak of two steps, a pair of bars for each category and one for the total.

    The bars of ``a`` are pale. At the end of each pair stands by how much ``b`` is larger.

    Args:
        a: one step, run or simulated.
        b: another one.
        ax: where to draw; a new figure if there is none.
        names: what the two are called in the legend.
    """
    axes = axes_for(ax)
    first, second = a.peak_by_category(), b.peak_by_category()
    rows = [(name, first[name], second[name]) for name in CATEGORY_COLORS]
    rows = [row for row in rows if row[1] or row[2]] + [("total", a.peak, b.peak)]
    longest = max(a.peak, b.peak)
    for place, (name, before, after) in enumerate(rows):
        color = CATEGORY_COLORS.get(name, ink(axes))
        axes.barh(place - _HEIGHT / 2, before, _HEIGHT, color=color, alpha=_PALE)
        axes.barh(place + _HEIGHT / 2, after, _HEIGHT, color=color)
        end = max(before, after) + 0.012 * longest
        axes.text(end, place, _told(after - before), va="center", color=ink(axes))
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name, *_ in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, longest / (1 - share_of_text(axes, characters=len("+1000.0 KiB"))))
    axes.set_xlabel("live bytes at the peak")
    format_byte_axis(axes, "x")
    handles = [Patch(color=ink(axes), alpha=alpha) for alpha in (_PALE, 1)]
    legend = axes.legend(handles, list(names), **LEGEND)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return axes


def _told(difference: int) -> str:
    if not difference:
        return "equal"
    return ("+" if difference > 0 else "\N{MINUS SIGN}") + format_bytes(abs(difference))
