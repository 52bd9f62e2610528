"""Figures of a sweep: tables in, figures out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from memprop.files import whole_file
from memprop.report.frames import inference_of, measured, series, training_against_inference
from memprop.report.hints import Hint, give_hints
from memprop.traces.figures import (
    MOST_BARS,
    plot_lifetimes,
    plot_reserved,
    plot_segments,
    plot_timeline,
)
from memprop.traces.trace import Trace
from memprop.units import format_bytes

MARKERS: Final = "osD^vP*X"
COLORS: Final = plt.get_cmap("tab10")
"""What tells schedules apart."""
PANELS_IN_A_ROW: Final = 3
"""More go into further rows."""
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 120,
    "svg.hashsalt": "memprop",  # the same table gives the same file
}


def styled(draw: Callable[[], Figure]) -> Figure:
    """The figure that ``draw`` makes, in the style of the reports."""
    with plt.rc_context(_STYLE):
        return draw()


def save(figure: Figure, stem: Path) -> None:
    """Write ``figure`` as ``<stem>.png`` and ``<stem>.svg``; the same figure, the same bytes."""
    with whole_file(stem.with_name(f"{stem.name}.svg")) as file:
        write_svg(figure, file)
    with whole_file(stem.with_name(f"{stem.name}.png")) as file, plt.rc_context(_STYLE):
        figure.savefig(file, format="png", dpi=150)


def write_svg(figure: Figure, file: IO[bytes]) -> None:
    """Write ``figure`` as SVG; the same figure, the same bytes."""
    with plt.rc_context(_STYLE):
        figure.savefig(file, format="svg", metadata={"Date": None}, dpi=150)


def peak_against(results: pd.DataFrame, along: str) -> Figure:
    """Peak memory along one axis, a line for each value of the other, a panel per schedule.

    Args:
        results: of a sweep over depth and batch.
        along: "batch" or "depth".
    """
    other = "depth" if along == "batch" else "batch"
    if measured(results)[other].nunique() == 1 and len(series(results)) > 1:
        return _peak_of_each(results, along)
    drawn = [
        (f"training with {name}", train, inference_of(results, train))
        for name, train in series(results)
    ] or [(name, table.head(0), table) for name, table in series(results, "inference")]
    figure, axes_of = panels(len(drawn))
    values = sorted(measured(results)[other].unique())
    for axes, (title, train, inference) in zip(axes_of, drawn, strict=True):
        for value, color, marker in zip(values, _ramp(len(values)), _markers(values), strict=True):
            for table, line in ((train, "-"), (inference, "--")):
                part = table[table[other] == value].sort_values(along)
                (drawn_line,) = axes.plot(
                    part[along],
                    part["ledger_peak"].astype("int64"),
                    line,
                    color=color,
                    marker=marker,
                    markersize=5,
                    markerfacecolor=color if line == "-" else "white",
                )
                give_hints(drawn_line, _peak_hints(part, title if line == "-" else "inference"))
        axes.set_title(title)
        axes.set_xlabel(_axis_title(along))
        _log_axes(axes, sorted({*train[along], *inference[along]}))
    for axes in axes_of[::PANELS_IN_A_ROW]:
        axes.set_ylabel("peak live bytes")
    _series_legend(axes_of[min(len(axes_of), PANELS_IN_A_ROW) - 1], other, values)
    return figure


def _peak_of_each(results: pd.DataFrame, along: str) -> Figure:
    """Peak memory along the only axis of a sweep, a line for each schedule."""
    figure, axes = plt.subplots(figsize=(9.5, 5.6), layout="constrained")
    drawn = series(results)
    for place, (name, table) in enumerate(drawn):
        part = table.sort_values(along)
        style = {"color": COLORS(place % 10), "marker": MARKERS[place % len(MARKERS)]}
        (line,) = axes.plot(part[along], part["ledger_peak"].astype("int64"), label=name, **style)
        give_hints(line, _peak_hints(part, f"training with {name}"))
    inference = inference_of(results, pd.concat([table for _, table in drawn])).sort_values(along)
    if len(inference):
        peaks = inference["ledger_peak"].astype("int64")
        (line,) = axes.plot(inference[along], peaks, "--", color="black", label="inference")
        give_hints(line, _peak_hints(inference, "inference"))
    axes.set_xlabel(_axis_title(along))
    axes.set_ylabel("peak live bytes")
    _log_axes(axes, sorted(measured(results)[along].unique()))
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    return figure


def ratio_map(results: pd.DataFrame) -> Figure:
    """Training peak over inference peak as a heat map, depth by batch, a panel per schedule."""
    table = training_against_inference(results)
    names = list(dict.fromkeys(table["series"]))
    figure, axes_of = panels(len(names))
    top = float(table["ratio"].max())
    scale = LogNorm(vmin=1, vmax=max(top, 2.0))
    image = None
    for axes, name in zip(axes_of, names, strict=True):
        part = table[table["series"] == name]
        grid = part.pivot_table(index="depth", columns="batch", values="ratio")
        image = axes.imshow(grid, origin="lower", aspect="auto", cmap="cividis", norm=scale)
        _write_cells(axes, grid, top, _ratio_hints(part))
        axes.set_title(f"training with {name}")
        axes.set_xlabel(_axis_title("batch"))
    for axes in axes_of[::PANELS_IN_A_ROW]:
        axes.set_ylabel(_axis_title("depth"))
    if image is not None:
        bar = figure.colorbar(image, ax=axes_of, label="training peak / inference peak")
        bar.ax.yaxis.set_major_locator(LogLocator(base=2))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
        bar.ax.yaxis.set_minor_locator(NullLocator())
    return figure


def timelines(traces: Sequence[tuple[str, Trace]]) -> Figure:
    """Live bytes over a step, stacked by category; several steps side by side on one scale."""
    count = len(traces)
    figure, grid = plt.subplots(
        1, count, figsize=(3.5 + 7 * count, 4.6), layout="constrained", squeeze=False, sharey=True
    )
    top = max(trace.peak for _, trace in traces) * 1.22
    longest = max(len(trace.events) for _, trace in traces)
    for axes, (name, trace) in zip(grid[0], traces, strict=True):
        plot_timeline(trace, axes, top=top)
        axes.set_xlim(0, longest)
        axes.set_title(name, loc="left")
    for axes in grid[0, :-1]:  # one legend is enough
        axes.get_legend().remove()
    for axes in grid[0, 1:]:
        axes.set_ylabel("")
    return figure


def lifetimes(name: str, trace: Trace) -> Figure:
    """The lives of the cached intermediates of one step, with a mark at each reuse."""
    count = min(len(trace.intermediates()), MOST_BARS)
    figure, axes = plt.subplots(figsize=(10.5, 1.6 + 0.32 * count), layout="constrained")
    plot_lifetimes(trace, axes)
    axes.set_title(name, loc="left")
    return figure


def segments(trace: Trace) -> Figure:
    """The segments of the allocator where most is reserved; each block says what it is."""
    figure, axes = plt.subplots(figsize=(10.5, 5.4), layout="constrained")
    plot_segments(trace, axes)
    for block in axes.patches:
        give_hints(block, [Hint(str(block.get_label()))])
    return figure


def reserved(trace: Trace) -> Figure:
    """What the allocator reserves and allocates over a step."""
    figure, axes = plt.subplots(figsize=(10.5, 4), layout="constrained")
    plot_reserved(trace, axes)
    return figure


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """Axes for so many panels, row by row; the others of the last row stay empty."""
    columns, rows = min(count, PANELS_IN_A_ROW), -(-count // PANELS_IN_A_ROW)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(2.2 + 4.4 * columns, 4.6 * rows),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    made = list(grid.flat)
    for empty in made[count:]:
        empty.set_axis_off()
    return figure, made[:count]


def _ramp(count: int) -> list[tuple[float, float, float, float]]:
    """Colours in order, from the part of viridis that shows on white."""
    colors = plt.get_cmap("viridis_r")
    return [colors(0.15 + 0.8 * place / max(count - 1, 1)) for place in range(count)]


def _markers(values: Sequence[object]) -> list[str]:
    return [MARKERS[place % len(MARKERS)] for place in range(len(values))]


def _axis_title(axis: str) -> str:
    return {"batch": "batch size (samples per step)", "depth": "depth (hidden layers)"}[axis]


def _log_axes(axes: Axes, values: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(values), [str(value) for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("log", base=2)
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(_size_locator(high / low))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda size, _: round_size(size)))
    axes.grid(visible=True, axis="y", alpha=0.3)


def _size_locator(ratio: float) -> LogLocator:
    """Round sizes in IEC units, a handful of them whatever the ratio of the ends of the axis."""
    if ratio > 64:
        return LogLocator(base=4, numticks=12)
    return LogLocator(base=2, subs=(1,) if ratio > 6 else (1, 1.25, 1.5, 1.75), numticks=12)


def round_size(size: float) -> str:
    """A round size as it is written at a tick."""
    return format_bytes(size).replace(".0 ", " ")


def _series_legend(axes: Axes, other: str, values: Sequence[int]) -> None:
    lines = [
        Line2D([], [], color=color, marker=marker, label=f"{other} {value}")
        for value, color, marker in zip(values, _ramp(len(values)), _markers(values), strict=True)
    ]
    kinds = [
        Line2D([], [], color="black", linestyle="-", label="training"),
        Line2D([], [], color="black", linestyle="--", label="inference"),
    ]
    # The largest on top, as in the figure.
    axes.legend(
        handles=[*kinds, *lines[::-1]], loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False
    )


def _peak_hints(part: pd.DataFrame, title: str) -> list[Hint]:
    """What is said of each trial of a line of peaks."""
    rows = part["row"] if "row" in part else [None] * len(part)
    return [
        Hint(
            f"{title}\ndepth {depth}, batch {batch}: {format_bytes(size)} ({size:,} B)\n"
            f"at {operator}",
            None if row is None else int(row),
        )
        for depth, batch, size, operator, row in zip(
            part["depth"],
            part["batch"],
            part["ledger_peak"].astype("int64"),
            part["peak_operator"],
            rows,
            strict=True,
        )
    ]


def _ratio_hints(part: pd.DataFrame) -> dict[tuple[Any, Any], Hint]:
    """What is said of each cell, by depth and batch."""
    return {
        (row["depth"], row["batch"]): Hint(
            f"depth {row['depth']}, batch {row['batch']}: {row['ratio']:.2f}\n"
            f"{format_bytes(row['train_bytes'])} against {format_bytes(row['inference_bytes'])}"
        )
        for row in part.to_dict(orient="records")
    }


def _write_cells(
    axes: Axes, grid: pd.DataFrame, top: float, hints: Mapping[tuple[Any, Any], Hint]
) -> None:
    axes.set_xticks(range(grid.shape[1]), [str(name) for name in grid.columns])
    axes.set_yticks(range(grid.shape[0]), [str(name) for name in grid.index])
    for (row, column), ratio in np.ndenumerate(grid.to_numpy(dtype=np.float64)):
        shade = "black" if ratio > top**0.55 else "white"
        cell = axes.text(column, row, f"{ratio:.1f}", ha="center", va="center", color=shade)
        if hint := hints.get((grid.index[row], grid.columns[column])):
            give_hints(cell, [hint])
