"""The phases of a step along an axis of events."""

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.axes import Axes

from memprop.terms import PHASES
from memprop.traces.figures.axes import ink, share_of_text
from memprop.traces.passes import parts, passes

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

_FORWARD: Final = (PHASES.index("forward"), PHASES.index("loss"))


def mark_phases(axes: Axes, trace: "Trace") -> None:
    """A line at the beginning of each phase, and its name under the axis.

    What runs between the first and the last operator of a backward pass is one stretch; forward
    operators in it, those of a recomputation or of a further slice, are shaded.
    """
    phase, part = trace.events.phase.copy(), parts(trace)
    again = np.zeros(len(phase), dtype=bool)
    for stretch in passes(trace):
        again[stretch] = np.isin(part[stretch], _FORWARD)
        phase[stretch] = phase[stretch.start]
    _shade(axes, again)
    starts = np.flatnonzero(np.diff(phase, prepend=-1))
    edges = [*starts.tolist(), len(phase)]
    for start in edges[:-1]:
        axes.axvline(start, color=ink(axes), linewidth=0.6, alpha=0.5)
    named = [
        ((a + b) / 2, trace.phases[phase[a]])
        for a, b in pairwise(edges)
        if _fits(axes, trace.phases[phase[a]], (b - a) / len(phase))
    ]
    axes.set_xticks([at for at, _ in named], [name for _, name in named], parse_math=False)
    axes.tick_params(axis="x", length=0)


def _fits(axes: Axes, name: str, share: float) -> bool:
    """Whether a phase that takes ``share`` of the axis has room for its name."""
    return share >= share_of_text(axes, characters=len(name))


def _shade(axes: Axes, wanted: np.ndarray) -> None:
    """A grey band over each run of events that are wanted."""
    edges = np.flatnonzero(np.diff(wanted.astype(np.int8), prepend=0, append=0))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        band = axes.axvspan(begin, end, color=ink(axes), alpha=0.12, linewidth=0, zorder=3)
        band.set_label("forward, between backward" if begin == edges[0] else "_")
