"""The parts of the peak, along the axes that a sweep varies other than depth and batch size."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from memprop.report.frames import AXES, measured
from memprop.report.hints import Hint, give_hints
from memprop.report.plots import PANELS_IN_A_ROW, panels
from memprop.terms import CATEGORIES
from memprop.traces.colors import CATEGORY_COLORS
from memprop.units import format_bytes

_MOST_BARS: Final = 16
_MOST_BATCHES: Final = 3

_SAMPLES: Final = ("input", "activation", "activation_gradient")
"""What grows with the batch size; parameters, their gradients and the state do not."""


def varied(results: pd.DataFrame) -> list[str]:
    """The axes other than depth, batch and schedule along which training trials differ."""
    ok = measured(results)
    train = ok[ok["mode"] == "train"]
    return [axis for axis in AXES if train[axis].nunique() > 1]


def _deepest(results: pd.DataFrame) -> pd.DataFrame:
    """The training trials of the largest depth; of many batch sizes the smallest and largest."""
    ok = measured(results)
    train = ok[(ok["mode"] == "train") & (ok["depth"] == ok["depth"].max())]
    if train["batch"].nunique() > _MOST_BATCHES:
        train = train[train["batch"].isin([train["batch"].min(), train["batch"].max()])]
    return train


def bars(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each point along the varied axes, at the largest depth, for each batch size.

    Columns: ``panel`` (schedule and batch size), ``label``, and the bytes of each category. Empty
    where nothing varies, or too much.
    """
    train, axes = _deepest(results), varied(results)
    if not axes or len(axes) > 2 or train.drop_duplicates(axes).shape[0] > _MOST_BARS:
        return pd.DataFrame(columns=["panel", "label", *CATEGORIES])
    made = pd.DataFrame(
        {
            "panel": train["schedule"] + ", batch " + train["batch"].astype("string"),
            "label": _labels(train, axes),
            **{name: train[f"peak_{name}"].astype("int64") for name in CATEGORIES},
        }
    )
    return made.drop_duplicates(["panel", "label"]).reset_index(drop=True)


def _labels(train: pd.DataFrame, axes: list[str]) -> list[str]:
    """The values of the axes; what a trial without an optimizer does not have is left out."""
    columns = train[axes].astype("string")
    if "update" in axes and "optimizer" in axes:
        columns.loc[train["optimizer"] == "none", "update"] = ""
    rows = columns.itertuples(index=False)
    return ["\n".join(value for value in row if value).replace("_", " ") for row in rows]


def breakdown(table: pd.DataFrame) -> Figure:
    """A bar for each row of :func:`bars`, stacked by category, as shares of the peak, with it."""
    names = list(dict.fromkeys(table["panel"]))
    figure, drawn = panels(len(names))
    present = [name for name in CATEGORIES if table[name].gt(0).any()]
    for axes, name in zip(drawn, names, strict=True):
        part = table[table["panel"] == name]
        total = part[list(CATEGORIES)].sum(axis=1).to_numpy()
        low = np.zeros(len(part))
        for category in present:
            share = part[category].to_numpy() / total
            color = CATEGORY_COLORS[category]
            drawn_bars = axes.bar(range(len(part)), share, bottom=low, color=color, width=0.8)
            for bar, size, of, label in zip(
                drawn_bars, part[category], share, part["label"], strict=True
            ):
                said = f"{category.replace('_', ' ')}: {format_bytes(size)}, {of:.1%} of the peak"
                give_hints(bar, [Hint(f"{name}\n{label}\n{said}".replace("\n\n", "\n"))])
            low += share
        for place, size in enumerate(total):
            text = format_bytes(size).replace(" ", "\n")
            axes.text(place, 1.01, text, ha="center", va="bottom", fontsize=7)
        turned = 90 if part["label"].str.len().max() > 5 else 0
        axes.set_xticks(range(len(part)), part["label"], fontsize=8, rotation=turned)
        axes.set_ylim(0, 1.16)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.set_title(name)
    for axes in drawn[::PANELS_IN_A_ROW]:
        axes.set_ylabel("share of the peak")
    handles = [Patch(color=CATEGORY_COLORS[name]) for name in present[::-1]]
    labels = [name.replace("_", " ") for name in present[::-1]]
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return figure


def summarize(results: pd.DataFrame) -> Iterator[str]:
    """What the breakdown comes to, in sentences with numbers."""
    train, axes = _deepest(results), varied(results)
    if axes == ["width"]:
        yield from _overtaken(train)
    if axes and set(axes) <= {"optimizer", "update"}:
        yield from _states(train)


def _overtaken(train: pd.DataFrame) -> Iterator[str]:
    for (schedule, batch), part in train.groupby(["schedule", "batch"], sort=False):
        by_width = part.sort_values("width")
        of_samples = by_width[[f"peak_{name}" for name in _SAMPLES]].sum(axis=1)
        others = by_width["ledger_peak"] - of_samples
        wider = by_width[others > of_samples]
        depth = by_width["depth"].iloc[0]
        widest = int(by_width["width"].max())
        if wider.empty:
            yield (
                f"With {schedule}, depth {depth} and batch {batch}, what the samples need is most "
                f"of the peak at every width up to {widest}."
            )
            continue
        yield (
            f"With {schedule}, depth {depth} and batch {batch}, parameters and their gradients "
            f"overtake what the samples need at width {wider['width'].iloc[0]}; at width {widest} "
            f"they are {others.iloc[-1] / by_width['ledger_peak'].iloc[-1]:.0%} of the peak."
        )


def _states(train: pd.DataFrame) -> Iterator[str]:
    one = train[train["batch"] == train["batch"].min()].drop_duplicates(["optimizer", "update"])
    parts = []
    for _, row in one.iterrows():
        if row["optimizer"] != "none" and row["update"] == "at_end":
            share = row["peak_optimizer_state"] / row["peak_parameter"]
            parts.append(f"{row['optimizer']} {share:.2f}")
    if parts:
        yield f"State kept beside the parameters, as a multiple of them: {', '.join(parts)}."
    early = one[one["update"] == "in_backward"].set_index("optimizer")["ledger_peak"]
    late = one[one["update"] == "at_end"].set_index("optimizer")["ledger_peak"]
    for name in early.index.intersection(late.index):
        saved = int(late[name] - early[name])
        yield (
            f"Updating in backward saves {format_bytes(saved)} of {format_bytes(late[name])} with "
            f"{name} at depth {one['depth'].iloc[0]}, batch {one['batch'].iloc[0]}: "
            f"{saved / late[name]:.0%}."
        )
