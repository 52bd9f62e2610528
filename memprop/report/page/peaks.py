"""Charts of peaks against batch size and depth, and the map of training to inference."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from memprop.report.frames import inference_of, measured, series, training_against_inference
from memprop.report.page.chart import Axis, Chart, Line, Panel, Point, apart, ramp
from memprop.units import format_bytes

_AXES: Final = {
    "batch": Axis("batch size (samples per step)", "count"),
    "depth": Axis("depth (hidden layers)", "count"),
}
_PEAK: Final = Axis("peak live bytes", "bytes")
_INFERENCE_HUE: Final = 0
_BROKEN: Final = "; broken lines are inference."


def peak_charts(results: pd.DataFrame) -> Iterator[Chart]:
    """Peak against batch size and against depth, where there is more than one of them.

    Args:
        results: with a column ``row`` that numbers them.
    """
    ok = measured(results)
    for along, other in (("batch", "depth"), ("depth", "batch")):
        if ok[along].nunique() == 1:
            continue
        alone = ok[other].nunique() == 1 and len(series(results)) > 1
        panels = _schedules(results, along) if alone else tuple(_panels(results, along, other))
        yield Chart(
            name=f"peak-{along}",
            title=f"Peak against {'batch size' if along == 'batch' else 'depth'}",
            caption=f"Peak memory of one step, by the ledger, for each "
            f"{'schedule' if alone else other}{_BROKEN if _has_inference(ok) else '.'}",
            x=_AXES[along],
            y=_PEAK,
            log=True,
            panels=panels,
        )


def _has_inference(ok: pd.DataFrame) -> bool:
    return bool((ok["mode"] == "inference").any())


def _panels(results: pd.DataFrame, along: str, other: str) -> Iterator[Panel]:
    """A panel for each series, a line for each value of the other axis."""
    drawn = [
        (f"training with {name}", train, inference_of(results, train))
        for name, train in series(results)
    ] or [(name, table.head(0), table) for name, table in series(results, "inference")]
    values = sorted(measured(results)[other].unique().tolist())
    for title, train, inference in drawn:
        lines = []
        for place, (value, hue) in enumerate(zip(values, ramp(len(values)), strict=True)):
            of_train = _points(train[train[other] == value], along)
            lines.append(Line(f"{other} {value}", of_train, hue, place))
            of_inference = _points(inference[inference[other] == value], along)
            lines.append(Line(f"{other} {value}, inference", of_inference, hue, place, "dashed"))
        yield Panel(title, tuple(line for line in lines if line.points))


def _schedules(results: pd.DataFrame, along: str) -> tuple[Panel]:
    """One panel with a line for each series."""
    drawn = series(results)
    lines = [
        Line(name, _points(table, along), apart(place), place)
        for place, (name, table) in enumerate(drawn)
    ]
    inference = inference_of(results, pd.concat([table for _, table in drawn]))
    if len(inference):
        lines.append(Line("inference", _points(inference, along), _INFERENCE_HUE, 0, "dashed"))
    return (Panel("", tuple(lines)),)


def _points(table: pd.DataFrame, along: str) -> tuple[Point, ...]:
    return tuple(
        Point(int(x), int(y), f"at {operator}", int(row))
        for x, y, operator, row in table.sort_values(along)[
            [along, "ledger_peak", "peak_operator", "row"]
        ].itertuples(index=False)
    )


@dataclass(frozen=True)
class Cell:
    """One field of a map: the ratio, how warm it is from 0 to 1, and what it is the ratio of."""

    ratio: float
    warmth: float
    told: str


@dataclass(frozen=True)
class RatioMap:
    """Training peak over inference peak, depth down and batch across; ``None`` where untried."""

    title: str
    batches: tuple[int, ...]
    rows: tuple[tuple[int, tuple[Cell | None, ...]], ...]


def ratio_maps(results: pd.DataFrame) -> Iterator[RatioMap]:
    """A map for each series that has inference beside it; one scale of warmth for all."""
    table = training_against_inference(results)
    top = max(2.0, float(table["ratio"].max())) if len(table) else 2.0
    for name, part in table.groupby("series", sort=False):
        batches = tuple(sorted(part["batch"].unique().tolist()))
        rows = part.to_dict(orient="records")
        cells = {(row["depth"], row["batch"]): _cell(row, top) for row in rows}
        depths = sorted(part["depth"].unique().tolist())
        grid = tuple((depth, tuple(cells.get((depth, b)) for b in batches)) for depth in depths)
        yield RatioMap(f"training with {name}", batches, grid)


def _cell(row: Mapping[Hashable, Any], top: float) -> Cell:
    told = f"{format_bytes(row['train_bytes'])} against {format_bytes(row['inference_bytes'])}"
    warmth = float(np.clip(np.log(row["ratio"]) / np.log(top), 0, 1))
    return Cell(float(row["ratio"]), round(warmth, 3), told)
