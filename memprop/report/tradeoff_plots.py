"""Figures of memory against recomputation."""

from collections.abc import Mapping
from typing import Literal

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from matplotlib.typing import ColorType

from memprop.report.hints import Hint, give_hints
from memprop.report.plots import COLORS, MARKERS, PANELS_IN_A_ROW, panels
from memprop.report.tradeoff import BASELINE
from memprop.traces.figures import format_byte_axis
from memprop.units import format_bytes


def memory_against_recomputation(
    table: pd.DataFrame, frontiers: Mapping[int, pd.DataFrame]
) -> Figure:
    """Peak memory and predicted slow-down of each schedule, over what the planner can do.

    Args:
        table: trade-offs at one batch size.
        frontiers: for each depth the table of :func:`memprop.frontier`.
    """
    depths = sorted(table["depth"].unique())
    figure, drawn = panels(len(depths))
    styles = _styles(table)
    for axes, depth in zip(drawn, depths, strict=True):
        part = table[table["depth"] == depth]
        room = 1.08 * part["peak_bytes"].max()
        if depth in frontiers:
            _draw_frontier(axes, frontiers[depth], room)
        for _, row in part.iterrows():
            color, marker = styles[row["schedule"]]
            (point,) = axes.plot(
                row["peak_bytes"], row["predicted_slowdown"], marker, color=color, ms=7
            )
            give_hints(point, [_hint(row)])
        axes.set_title(f"depth {depth}")
        axes.set_xlim(0, room)
        axes.set_xlabel("peak live bytes")
        format_byte_axis(axes, "x")
        axes.grid(visible=True, alpha=0.3)
    _slowdown_axis(drawn[0], float(table["predicted_slowdown"].max()))
    for axes in drawn[::PANELS_IN_A_ROW]:
        axes.set_ylabel("slow-down (FLOPs, of those of lean)")
    _legend(figure, styles, ("0.35", "-", "planned, for every budget") if frontiers else None)
    return figure


def measured_against_predicted(table: pd.DataFrame) -> Figure:
    """The measured against the predicted slow-down of every trial, with the line of equality."""
    figure, axes = plt.subplots(figsize=(8.2, 5.2), layout="constrained")
    timed = table.dropna(subset=["measured_slowdown"])
    styles = _styles(table)
    for name, part in timed.groupby("schedule", sort=False):
        color, marker = styles[str(name)]
        (points,) = axes.plot(
            part["predicted_slowdown"], part["measured_slowdown"], marker, color=color, ms=8, ls=""
        )
        give_hints(points, [_hint(row) for _, row in part.iterrows()])
    ends = [0.95, 1.05 * float(timed[["predicted_slowdown", "measured_slowdown"]].max().max())]
    axes.plot(ends, ends, color="black", linewidth=1, linestyle="--")
    axes.set_xlabel("predicted slow-down (FLOPs, of those of lean)")
    axes.set_ylabel("measured slow-down (time of a step, of that of lean)")
    axes.grid(visible=True, alpha=0.3)
    _legend(figure, styles, ("black", "--", "equal"))
    return figure


def _hint(row: pd.Series) -> Hint:
    took = row["measured_slowdown"]
    return Hint(
        f"{row['schedule']}, depth {row['depth']}, batch {row['batch']}\n"
        f"{format_bytes(row['peak_bytes'])} ({row['peak_bytes']:,} B), "
        f"{row['predicted_slowdown']:.3f} times the FLOPs of lean"
        + ("" if pd.isna(took) else f"\ntook {took:.2f} times as long")
    )


def _draw_frontier(axes: Axes, frontier: pd.DataFrame, room: float) -> None:
    """The least slow-down at each budget, as a staircase, from the smallest budget on."""
    best = frontier.sort_values("peak_bytes")
    steps = [*best["peak_bytes"], room], [*best["slowdown"].cummin(), 1.0]
    axes.step(*steps, where="post", color="0.35", linewidth=1.6)


def _slowdown_axis(axes: Axes, largest: float) -> None:
    """A logarithmic axis: 1.1 and 1.2 can be distinguished even if there is a 3.

    It ends with the strategies; the last bytes that can be saved may take many times the FLOPs.
    """
    axes.set_yscale("log")
    axes.set_ylim(0.97, 1.1 * largest)
    ticks = [tick for tick in (1, 1.1, 1.25, 1.5, 2, 3, 4, 6, 8, 12, 16) if tick <= largest * 1.1]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())


def _styles(table: pd.DataFrame) -> dict[str, tuple[ColorType, str]]:
    """Colour and marker of each schedule, in the order of their names."""
    names = sorted(table["schedule"].unique(), key=lambda name: (name != BASELINE, name))
    return {
        name: (COLORS(place % 10), MARKERS[place % len(MARKERS)])
        for place, name in enumerate(names)
    }


def _legend(
    figure: Figure,
    styles: Mapping[str, tuple[ColorType, str]],
    line: tuple[ColorType, Literal["-", "--"], str] | None,
) -> None:
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="", label=name)
        for name, (color, marker) in styles.items()
    ]
    if line:
        color, style, label = line
        handles.append(Line2D([], [], color=color, linestyle=style, label=label))
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
