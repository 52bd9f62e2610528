"""A profile as HTML, for the display in a notebook."""

from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Final

from memprop.errors import MempropError
from memprop.units import format_bytes

if TYPE_CHECKING:
    import pandas as pd

    from memprop.profiler.profiler import Profiler
    from memprop.traces.trace import Trace

_MOST_ROWS: Final = 30
_DROPPED: Final = (
    "layer",
    "born",
    "last_read",
    "freed",
    "reuses",
    "recomputed",
    "offloaded",
    "dtype",
)


def profile(profiler: "Profiler") -> str:
    """The phases, what was kept for backward, and the timeline as a figure in SVG.

    Every name that comes from the user's program is escaped.
    """
    parts = [f"<p>{escape(repr(profiler))}</p>"]
    phases = profiler.phases()
    if unseen := phases.attrs.get("unseen"):
        parts.append(f"<p>Memory of {escape(unseen)} is not in these tables.</p>")
    parts.append(_table(phases, "Phases"))
    if len(steps := profiler.steps()):
        peaks = [name for name in steps.columns if name.startswith("peak_")][2:]
        parts.append(_table(steps.drop(columns=peaks), "Steps"))
        parts.append(_table(profiler.growth(), "Left by steps that are over"))
    try:
        trace = profiler.trace
        kept = trace.intermediates().drop(columns=list(_DROPPED))
        if not len(kept) and trace.about["source"] == "tracemalloc":
            kept = profiler.cached()
        parts += [_table(kept, "Kept from forward to backward"), timeline_svg(trace)]
    except MempropError as error:
        parts.append(f"<p>{escape(str(error))}</p>")
    return "".join(parts)


def _table(frame: "pd.DataFrame", title: str) -> str:
    shown = frame.head(_MOST_ROWS).copy()
    for name in shown.columns[[str(c).endswith("bytes") for c in shown.columns]]:
        shown[name] = [format_bytes(size) for size in shown[name]]
    more = len(frame) - len(shown)
    rest = f"<p>and {more} more</p>" if more else ""
    return f"<h4>{title}</h4>{shown.to_html(index=False, escape=True, border=0)}{rest}"


def timeline_svg(trace: "Trace") -> str:
    """The timeline of a trace as an ``<svg>`` element."""
    import matplotlib.pyplot as plt

    axes = trace.plot()
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - the axes were just drawn into one
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
