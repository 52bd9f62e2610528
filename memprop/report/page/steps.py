"""The steps of a sweep that its page can show event by event, and which these are."""

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from memprop.data import load_data
from memprop.engine.step import predicted_trace
from memprop.errors import MempropError
from memprop.report.frames import AXES
from memprop.report.page.encode import encode
from memprop.sweep.axes import AXES as ALL_AXES
from memprop.sweep.model import model_of, step_options
from memprop.sweep.plan import Trial
from memprop.sweep.spec import SweepSpec
from memprop.terms import MODES
from memprop.traces.trace import Trace
from memprop.units import format_bytes

MOST_STEPS: Final = 60
MOST_BYTES: Final = 2_000_000
"""Of all steps together, as JSON: a page should open at once."""


@dataclass(frozen=True)
class Step:
    """One step as a page shows it.

    Attributes:
        group: what its neighbours in the list of trials have in common with it.
        label: what tells it from them.
        title: both, as a heading.
        trace: by :func:`memprop.report.page.encode.encode`.
        row: its row in the results; ``None`` if there are none.
    """

    group: str
    label: str
    title: str
    trace: dict[str, Any]
    row: int | None = None


@dataclass(frozen=True)
class Steps:
    """The steps on a page, and how many trials the sweep has."""

    shown: tuple[Step, ...]
    trials: int


def single_step(title: str, trace: Trace) -> Step:
    """A step by itself."""
    return Step("", title, title, encode(trace))


def steps_of(spec: SweepSpec, results: pd.DataFrame, trials: int) -> Steps:
    """The steps of a sweep, simulated again: all of them if they are few and small.

    Of many, those at the ends and in the middle of depth and batch size come first, for each
    schedule and mode. None where the data of the sweep have gone.

    Args:
        spec: of the sweep.
        results: trials that ran or were predicted, with a column ``row`` that numbers them.
        trials: how many there are in all.
    """
    chosen = _by_interest(results).head(MOST_STEPS)
    found = list(_that_fit(_simulated(spec, chosen, _varied(results))))
    found.sort(key=lambda step: -1 if step.row is None else step.row)
    return Steps(tuple(found), trials)


def _by_interest(results: pd.DataFrame) -> pd.DataFrame:
    """The trials, those at the ends and in the middle of both axes of a series first."""
    series = ["mode", "schedule", *AXES]
    rank = pd.Series(0, index=results.index)
    for axis in ("depth", "batch"):
        values = results.groupby(series)[axis]
        middle = values.transform(lambda column: sorted(column)[len(column) // 2])
        ends = (results[axis] == values.transform("min")) | (
            results[axis] == values.transform("max")
        )
        rank += (~ends).astype(int) * (1 + (results[axis] != middle).astype(int))
    return results.assign(rank=rank).sort_values("rank", kind="stable")


def _varied(results: pd.DataFrame) -> list[str]:
    """The axes beside mode, schedule, depth and batch that tell trials apart."""
    return [axis for axis in AXES if results[axis].nunique() > 1]


def _simulated(spec: SweepSpec, chosen: pd.DataFrame, varied: Sequence[str]) -> Iterator[Step]:
    """The steps of the chosen trials; nothing of a trial whose data or model cannot be had."""
    try:
        data = load_data(spec.data.source)
    except MempropError:
        return
    for row in chosen.to_dict(orient="records"):
        trial = _trial(row, spec.data.source)
        try:
            model = model_of(trial, data.features, data.classes)
            trace = predicted_trace(model, trial.batch, step_options(trial))
        except MempropError:  # a message of the results says so
            continue
        group, label = _named(trial, trace, varied)
        yield Step(group, label, f"{group}, {label}", encode(trace), int(row["row"]))


def _that_fit(steps: Iterator[Step]) -> Iterator[Step]:
    room = MOST_BYTES
    for step in steps:
        room -= len(json.dumps(step.trace, separators=(",", ":")))
        if room < 0:
            return
        yield step


def _trial(row: Mapping[Hashable, Any], source: str) -> Trial:
    """The trial of a row of results; of its measurement nothing is asked."""
    point = {axis: row[axis] for axis in ALL_AXES}
    return Trial(
        **{**point, "mode": row["mode"] if row["mode"] in MODES else "train"},
        seed=int(row["seed"]),
        witnesses=(),
        steps=1,
        repeats=1,
        timeout_seconds=1.0,
        memory_limit_bytes=None,
        data_source=source,
    )


def _named(trial: Trial, trace: Trace, varied: Sequence[str]) -> tuple[str, str]:
    """The group of a trial and what tells it apart there."""
    schedule = "inference" if trial.mode == "inference" else f"training with {trial.schedule}"
    others = [f"{axis} {getattr(trial, axis)}" for axis in varied]
    group = ", ".join([schedule, *others, f"depth {trial.depth}"])
    return group, f"batch {trial.batch}: peak {format_bytes(trace.peak)}"
