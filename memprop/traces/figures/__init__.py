"""Figures of steps: each takes and returns an Axes, and goes into any figure of the user's own.

Users find them as :mod:`memprop.plot`. They follow the style sheet in force, but for one colour per
category, which is the same everywhere.
"""

from memprop.traces.figures.axes import format_byte_axis as format_byte_axis
from memprop.traces.figures.breakdown import plot_breakdown as plot_breakdown
from memprop.traces.figures.comparison import plot_comparison as plot_comparison
from memprop.traces.figures.frontier import plot_frontier as plot_frontier
from memprop.traces.figures.lifetimes import MOST_BARS as MOST_BARS
from memprop.traces.figures.lifetimes import plot_lifetimes as plot_lifetimes
from memprop.traces.figures.segments import plot_reserved as plot_reserved
from memprop.traces.figures.segments import plot_segments as plot_segments
from memprop.traces.figures.steps import plot_steps as plot_steps
from memprop.traces.figures.timeline import plot_timeline as plot_timeline
