"""The figures of a report, with their captions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from memprop.report import breakdown, plots, tradeoff, tradeoff_plots, witnesses
from memprop.report.frames import (
    are_few,
    differences,
    measured,
    shown_in_series,
    training_against_inference,
)
from memprop.sweep.examples import Examples, middle_trials
from memprop.sweep.spec import SweepSpec
from memprop.traces.trace import Trace


@dataclass(frozen=True)
class Picture:
    """A figure of the report and the name of its files."""

    name: str
    caption: str
    figure: Figure


_PEAK_CAPTIONS = {
    "batch": "Peak memory of one step against batch size, for each depth.",
    "depth": "Peak memory of one step against depth, for each batch size.",
}


@dataclass(frozen=True)
class Planned:
    """Schedules at the largest batch size, and what the planner can do there.

    Attributes:
        every: the trade-offs of all networks and batch sizes.
        frontiers: for each depth the table of :func:`memprop.frontier`, at the largest
            batch size.
    """

    every: pd.DataFrame
    frontiers: dict[int, pd.DataFrame]

    @property
    def table(self) -> pd.DataFrame:
        """The trade-offs at the largest batch size."""
        return self.every[self.every["batch"] == self.every["batch"].max()]


def planned_of(results: pd.DataFrame, examples: Examples) -> Planned | None:
    """What is saved by computing again; ``None`` where the sweep has no schedule that does."""
    every = tradeoff.tradeoffs(shown_in_series(results))
    if every.empty:
        return None
    largest = Planned(every, {}).table
    # With several networks of one depth a curve would be that of one of them.
    one_each = largest.groupby(["depth", "schedule"]).size().max() == 1
    return Planned(every, dict(examples.frontiers) if one_each else {})


def pictures_of(
    spec: SweepSpec, results: pd.DataFrame, planned: Planned | None, examples: Examples
) -> Iterator[Picture]:
    """The figures of a sweep that ran."""
    if measured(results).empty:
        return
    yield from peak_pictures(results)
    if planned is not None:
        yield from _tradeoff(planned)
    if differences(results).shape[1] > 1:
        caption = (
            "How far each witness is from the ledger; the lines are what is promised. Differences "
            "below 256 B are drawn there."
        )
        figure = plots.styled(lambda: witnesses.agreement(results))
        yield Picture("witnesses", caption, figure)
    yield from _steps(spec, results, examples)


def peak_pictures(results: pd.DataFrame) -> Iterator[Picture]:
    """How large the peaks are, and what they are made of."""
    bars = breakdown.bars(results)
    if len(bars):
        along = " and ".join(breakdown.varied(results))
        caption = f"What the peak is made of, by {along}, at the largest depth."
        yield Picture("breakdown", caption, plots.styled(lambda: breakdown.breakdown(bars)))
    for along in ("batch", "depth") if are_few(results) else ():
        if measured(results)[along].nunique() == 1 < len(measured(results)):
            continue
        figure = plots.styled(lambda along=along: plots.peak_against(results, along))
        yield Picture(f"peak_against_{along}", _PEAK_CAPTIONS[along], figure)
    if are_few(results) and not training_against_inference(results).empty:
        caption = "How many times the memory of inference a training step needs."
        yield Picture("ratio", caption, plots.styled(lambda: plots.ratio_map(results)))


def _tradeoff(planned: Planned) -> Iterator[Picture]:
    """What is saved by computing again, and what it costs."""
    largest, frontiers = planned.table, planned.frontiers
    yield Picture(
        "memory_against_recomputation",
        f"Each schedule at batch {largest['batch'].iloc[0]}: its peak, and its FLOPs against those "
        "of lean. The line is the planner's for every budget from one solve; a budget planned by "
        "itself may find a little less.",
        plots.styled(lambda: tradeoff_plots.memory_against_recomputation(largest, frontiers)),
    )
    if planned.every["measured_slowdown"].notna().any():
        yield Picture(
            "measured_against_predicted",
            "The time of a step against what its FLOPs predict, both as multiples of lean.",
            plots.styled(lambda: tradeoff_plots.measured_against_predicted(planned.every)),
        )


def _steps(spec: SweepSpec, results: pd.DataFrame, examples: Examples) -> Iterator[Picture]:
    """One step of the sweep, from the middle of its axes, under each schedule."""
    traces = _example_traces(spec, results, examples)
    if not traces:
        return
    yield Picture(
        "timeline",
        "One training step, event by event: live bytes by category.",
        plots.styled(lambda: plots.timelines(list(traces.values()))),
    )
    for schedule, (title, trace) in traces.items():
        yield Picture(
            f"lifetimes_{schedule.replace(':', '_')}",
            f"The lives of the cached intermediates with {schedule}; a mark is a reuse.",
            plots.styled(lambda title=title, trace=trace: plots.lifetimes(title, trace)),
        )


_MOST_STEPS: Final = 2
"""Steps side by side in one figure."""


def _shown(results: pd.DataFrame) -> list[str]:
    """The schedules of which a step is shown: two, lean and sqrt if there are more."""
    ok = measured(results)
    ran = list(ok.loc[ok["mode"] == "train", "schedule"].unique())
    telling = [name for name in ran if name in ("lean", "sqrt")]
    return ran if len(ran) <= _MOST_STEPS else (telling or ran)[:_MOST_STEPS]


def _example_traces(
    spec: SweepSpec, results: pd.DataFrame, examples: Examples
) -> dict[str, tuple[str, Trace]]:
    """For each schedule that is shown, the title and the trace of a step in the middle."""
    chosen = middle_trials(spec)
    return {
        schedule: (
            f"{schedule}: depth {trial.depth}, width {trial.width}, batch {trial.batch}",
            trace,
        )
        for schedule in _shown(results)
        if (trial := chosen.get(schedule)) and (trace := examples.step(trial.axes()))
    }
