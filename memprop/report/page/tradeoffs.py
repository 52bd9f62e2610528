"""Charts of memory against recomputation, and of the witnesses against the ledger."""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import pandas as pd

from memprop.report.frames import bounds, differences, growth_of
from memprop.report.page.chart import Axis, Chart, Line, Panel, Point, apart
from memprop.report.tradeoff import BASELINE

_FRONTIER_HUE: Final = 30
_LEAST_SHOWN: Final = 256
"""Bytes; smaller differences of a witness are drawn there."""


def tradeoff_chart(table: pd.DataFrame, frontiers: Mapping[int, pd.DataFrame]) -> Chart:
    """Peak and predicted slow-down of each schedule, over what the planner can do.

    Args:
        table: trade-offs at one batch size, not empty.
        frontiers: for each depth the table of :func:`memprop.frontier`.
    """
    names = sorted(table["schedule"].unique(), key=lambda name: (name != BASELINE, name))
    top = 1.1 * float(table["predicted_slowdown"].max())
    panels = []
    for depth in sorted(table["depth"].unique().tolist()):
        part = table[table["depth"] == depth]
        room = 1.08 * float(part["peak_bytes"].max())
        lines = [_schedule(part, name, place) for place, name in enumerate(names)]
        if depth in frontiers:
            points = _frontier(frontiers[depth], room, top)
            lines.insert(0, Line("planned, for every budget", points, _FRONTIER_HUE, None, "steps"))
        panels.append(Panel(f"depth {depth}", tuple(line for line in lines if line.points)))
    return Chart(
        name="tradeoff",
        title="Memory against recomputation",
        caption=f"Each schedule at batch {table['batch'].iloc[0]}: its peak, and its FLOPs as a "
        "multiple of those of lean. The line is the planner's for every budget from one solve.",
        x=Axis("peak live bytes", "bytes"),
        y=Axis("slow-down (FLOPs, of those of lean)", "times"),
        log=False,
        panels=tuple(panels),
        shared_x=False,
    )


def _schedule(part: pd.DataFrame, name: str, place: int) -> Line:
    own = part[part["schedule"] == name]
    points = (
        Point(
            int(row["peak_bytes"]),
            float(row["predicted_slowdown"]),
            _took(row["measured_slowdown"]),
        )
        for row in own.to_dict(orient="records")
    )
    return Line(name, tuple(points), apart(place), place, "")


def _took(slowdown: float) -> str:
    return "" if pd.isna(slowdown) else f"took {slowdown:.2f} times as long"


def _frontier(frontier: pd.DataFrame, room: float, top: float) -> tuple[Point, ...]:
    """The least slow-down at each budget; the last bytes, that cost beyond ``top``, left out."""
    best = frontier.sort_values("peak_bytes")
    least = best["slowdown"].cummin()
    pairs = zip(best["peak_bytes"].tolist(), least.tolist(), strict=True)
    return (*(Point(x, y) for x, y in pairs if y <= top and x < room), Point(room, 1.0))


def witness_charts(results: pd.DataFrame) -> Iterator[Chart]:
    """How far each witness is from the ledger, against what a step needs; with the bounds."""
    found, growth = differences(results), growth_of(results)
    names = [str(name) for name in found.columns if name != "prediction"]
    if not names:
        return
    lines = [
        Line(name, tuple(_apart_from(found[name], growth)), apart(place), place, "")
        for place, name in enumerate(names)
    ]
    span = np.geomspace(max(1.0, growth.min()), max(2.0, growth.max()), 24)
    promised = bounds()
    for place, name in enumerate(names):
        if name in promised:
            pairs = zip(span.tolist(), promised[name].bytes_of(span).tolist(), strict=True)
            points = tuple(Point(round(x), round(y)) for x, y in pairs)
            lines.append(Line(f"promised of {name}", points, apart(place), None))
    yield Chart(
        name="witnesses",
        title="How far the witnesses are from the ledger",
        caption="The difference of each witness's peak from the ledger's, without its sign; the "
        f"lines are what is promised. Differences below {_LEAST_SHOWN} B are drawn there.",
        x=Axis("bytes that the step needs beyond what is there before", "bytes"),
        y=Axis("difference from the ledger", "bytes"),
        log=True,
        panels=(Panel("", tuple(lines)),),
    )


def _apart_from(column: pd.Series, growth: np.ndarray) -> Iterator[Point]:
    pairs = zip(growth.tolist(), column, strict=True)
    for needed, off in sorted((needed, int(off)) for needed, off in pairs if not pd.isna(off)):
        yield Point(needed, max(abs(off), _LEAST_SHOWN), f"{off:+,} B")
