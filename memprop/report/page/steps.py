"""The steps of a sweep that its page can show event by event, and which these are."""

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from memprop.report.frames import AXES
from memprop.report.page.encode import encode
from memprop.sweep.examples import MOST_STEPS, Examples, by_interest, point_name
from memprop.traces.trace import Trace
from memprop.units import format_bytes

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


def steps_of(examples: Examples, results: pd.DataFrame, trials: int) -> Steps:
    """The steps of a sweep that were stored, as many as a page should hold; none if none were.

    Args:
        examples: what was stored, the most telling first.
        results: trials that ran or were predicted, with a column ``row`` that numbers them.
        trials: how many there are in all.
    """
    found = list(_that_fit(_stored(examples, results)))
    found.sort(key=lambda step: -1 if step.row is None else step.row)
    return Steps(tuple(found), trials)


def _varied(results: pd.DataFrame) -> list[str]:
    """The axes other than mode, schedule, depth and batch that distinguish trials."""
    return [axis for axis in AXES if results[axis].nunique() > 1]


def _stored(examples: Examples, results: pd.DataFrame) -> Iterator[Step]:
    """The stored steps of the trials, in the order in which they were stored."""
    if not examples.steps:
        return
    telling, varied = by_interest(results).head(MOST_STEPS), _varied(results)
    rows = {point_name(row): row for row in telling.to_dict(orient="records")}
    for name, trace in examples.steps.items():
        if name in rows:
            group, label = _named(rows[name], trace, varied)
            yield Step(group, label, f"{group}, {label}", encode(trace), int(rows[name]["row"]))


def _that_fit(steps: Iterator[Step]) -> Iterator[Step]:
    room = MOST_BYTES
    for step in steps:
        room -= len(json.dumps(step.trace, separators=(",", ":")))
        if room < 0:
            return
        yield step


def _named(row: Mapping[Hashable, Any], trace: Trace, varied: Sequence[str]) -> tuple[str, str]:
    """The group of a trial and what tells it apart there."""
    inference = row["mode"] == "inference"
    schedule = "inference" if inference else f"training with {row['schedule']}"
    others = [f"{axis} {row[axis]}" for axis in varied]
    group = ", ".join([schedule, *others, f"depth {row['depth']}"])
    return group, f"batch {row['batch']}: peak {format_bytes(trace.peak)}"
