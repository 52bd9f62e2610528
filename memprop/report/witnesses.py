"""Every witness compared with the ledger, trial by trial."""

from typing import Final

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from memprop.report.frames import AXES, beyond, bounds, differences, growth_of, measured
from memprop.report.hints import Hint, give_hints
from memprop.report.plots import COLORS, MARKERS, round_size
from memprop.units import format_bytes

_LEAST_SHOWN: Final = 256
"""Bytes; smaller differences, none at all among them, are drawn there."""

_MARK: Final = " (!)"


def cells(results: pd.DataFrame) -> pd.DataFrame:
    """A row of texts for each trial: its axes, the ledger's peak, and each difference from it.

    A difference beyond its bound is marked with (!).
    """
    ok, found, marks = measured(results), differences(results), beyond(results)
    varying = [axis for axis in ("mode", "schedule", *AXES) if ok[axis].nunique() > 1]
    made = pd.DataFrame(
        {
            "depth": ok["depth"].astype("string"),
            "batch": ok["batch"].astype("string"),
            **{axis: ok[axis].astype("string") for axis in varying},
            "ledger": ok["ledger_peak"].map("{:,}".format),
        }
    )
    for name, column in found.items():
        marked = marks[name] if name in marks else [False] * len(column)
        made[str(name)] = [
            "-" if pd.isna(off) else f"{off:+,}{_MARK if mark else ''}"
            for off, mark in zip(column, marked, strict=True)
        ]
    return made


def _hints(name: str, column: pd.Series, growth: np.ndarray) -> list[Hint]:
    """What is said of each trial that the witness measured."""
    return [
        Hint(f"{name}: {int(off):+,} B\nof a step that needs {format_bytes(int(needs))}")
        for off, needs in zip(column, growth.tolist(), strict=True)
        if not pd.isna(off)
    ]


def agreement(results: pd.DataFrame) -> Figure:
    """The difference of each witness from the ledger against the bytes that the step needs."""
    found, growth = differences(results), growth_of(results)
    figure, axes = plt.subplots(figsize=(9.5, 5.2), layout="constrained")
    names = [name for name in found.columns if name != "prediction"]
    for place, name in enumerate(names):
        off = found[name].astype("Float64").abs().astype("float64").clip(lower=_LEAST_SHOWN)
        style = {"color": COLORS(place % 10), "marker": MARKERS[place % len(MARKERS)]}
        (points,) = axes.plot(growth, off, ls="", ms=4, alpha=0.75, label=str(name), **style)
        give_hints(points, _hints(str(name), found[name], growth))
    span = np.geomspace(growth.min(), growth.max(), 64)
    for name, bound in bounds().items():
        if name in names:
            color = COLORS(names.index(name) % 10)
            axes.plot(span, bound.bytes_of(span), color=color, lw=1.2, label=f"promised of {name}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(base=16))
        axis.set_major_formatter(FuncFormatter(lambda size, _: round_size(size)))
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel("bytes that the step needs beyond what is there before, by the ledger")
    axes.set_ylabel("difference of a witness from the ledger")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    return figure
