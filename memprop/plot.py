"""Figures of steps, for a figure of your own: each takes an ``Axes`` and returns it.

>>> import matplotlib.pyplot as plt
>>> import memprop as mp
>>> step = mp.simulate(mp.MLP([64, 256, 10]), batch=256)
>>> figure, (left, right) = plt.subplots(1, 2)
>>> mp.plot.timeline(step, left) is left
True
>>> mp.plot.breakdown(step, right) is right
True
>>> plt.close(figure)

They follow the style sheet that is in force, but for the colours of the categories, and are vectors
throughout in SVG and PDF.
"""

from memprop.traces.figures import plot_breakdown as breakdown
from memprop.traces.figures import plot_comparison as compare
from memprop.traces.figures import plot_frontier as frontier
from memprop.traces.figures import plot_lifetimes as lifetimes
from memprop.traces.figures import plot_reserved as reserved
from memprop.traces.figures import plot_segments as segments
from memprop.traces.figures import plot_steps as steps
from memprop.traces.figures import plot_timeline as timeline

__all__ = [
    "breakdown",
    "compare",
    "frontier",
    "lifetimes",
    "reserved",
    "segments",
    "steps",
    "timeline",
]
