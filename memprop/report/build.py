"""The report of a sweep: its findings, tables and figures, made from the stored results.

The results are all that is read, so a report can be written again at any time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import pandas as pd

from memprop.report import breakdown, tradeoff
from memprop.report.findings import agreement_findings, findings
from memprop.report.frames import as_if_measured, shown_in_series
from memprop.report.headline import headline
from memprop.report.pictures import Picture, Planned, peak_pictures, pictures_of, planned_of
from memprop.report.tables import Table, series_tables, tables_of
from memprop.sweep.axes import AXES
from memprop.sweep.examples import Examples
from memprop.sweep.plan import trials
from memprop.sweep.spec import SweepSpec


@dataclass(frozen=True)
class Report:
    """Everything that the report of a sweep says, however it is written down."""

    title: str
    about: str
    findings: tuple[str, ...]
    headline: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]
    planned: Planned | None
    environment: dict[str, Any]
    results: pd.DataFrame
    spec: SweepSpec
    examples: Examples


def build_report(
    spec: SweepSpec, results: pd.DataFrame, environment: dict[str, Any], examples: Examples
) -> Report:
    """The report of the sweep that ``spec`` asked for and that gave ``results``."""
    if spec.simulated:
        return _of_predictions(spec, results, environment, examples)
    kinds = (
        findings(shown_in_series(results)),
        list(breakdown.summarize(results)),
        list(tradeoff.summarize(tradeoff.tradeoffs(shown_in_series(results)))),
        agreement_findings(results),
    )
    planned = planned_of(results, examples)
    numbered = results.assign(row=range(len(results)))  # a point of a figure opens its step
    return Report(
        title=spec.title,
        about=_about(spec, results),
        findings=tuple(chain.from_iterable(kinds)),
        headline=headline(kinds),
        tables=tuple(tables_of(results)),
        pictures=tuple(pictures_of(spec, numbered, planned, examples)),
        planned=planned,
        environment=environment,
        results=results,
        spec=spec,
        examples=examples,
    )


def _of_predictions(
    spec: SweepSpec, results: pd.DataFrame, environment: dict[str, Any], examples: Examples
) -> Report:
    """The report of a sweep that ran nothing: of many points a few are shown."""
    every = as_if_measured(results.assign(row=range(len(results))))
    shown = shown_in_series(every)
    wrong = int((results["status"] == "error").sum())
    mistakes = [f"{wrong} of {len(results)} points make no sense: see message."] if wrong else []
    pictures = peak_pictures(every) if len(every) else ()
    kinds = (findings(shown), list(breakdown.summarize(shown)), mistakes)
    return Report(
        title=spec.title,
        about=f"{len(results):,} points over {_axes(spec)}; data: {spec.data.source}. All peaks "
        "are predicted and nothing was run; of long axes some values are shown here.",
        findings=tuple(chain.from_iterable(kinds)),
        headline=headline(kinds),
        tables=tuple(series_tables(shown)),
        pictures=tuple(pictures),
        planned=None,
        environment=environment,
        results=results,
        spec=spec,
        examples=examples,
    )


def _axes(spec: SweepSpec) -> str:
    """What varies, and what does not."""
    axes = {
        name: _in_order(v for grid in spec.grid for v in getattr(grid, name))
        for name in AXES
        if any(name in grid.model_fields_set for grid in spec.grid)
    }
    varied = ", ".join(f"{k} ({_listed(v)})" for k, v in axes.items() if len(v) > 1)
    fixed = ", ".join(f"{k} {v[0]}" for k, v in axes.items() if len(v) == 1)
    return f"{varied or 'a single point'}" + (f"; {fixed}" if fixed else "")


def _in_order(values: Iterable[Any]) -> tuple[Any, ...]:
    """Each of ``values`` once: numbers by size, names as they were listed."""
    once = tuple(dict.fromkeys(values))
    return once if any(isinstance(value, str | bool) for value in once) else tuple(sorted(once))


_MOST_LISTED: Final = 12


def _listed(values: Sequence[object]) -> str:
    if len(values) <= _MOST_LISTED:
        return ", ".join(map(str, values))
    return f"{values[0]} to {values[-1]}, {len(values):,} values"


def _about(spec: SweepSpec, results: pd.DataFrame) -> str:
    planned = len(trials(spec))
    part = "" if len(results) == planned else f" of {planned}"
    return (
        f"{len(results)}{part} trials over {_axes(spec)}; data: "
        f"{spec.data.source}. Each trial ran real steps in a process of its own."
    )
