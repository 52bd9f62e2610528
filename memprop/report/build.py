"""The report of a sweep: its findings, tables and figures, made from the stored results.

The results are all that is read, so a report can be written again at any time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from memprop.data import load_data
from memprop.engine.step import simulate
from memprop.errors import DataError
from memprop.report import plots
from memprop.report.findings import findings
from memprop.report.frames import agreements, measured, series, training_against_inference
from memprop.sweep.plan import trials
from memprop.sweep.spec import SweepSpec
from memprop.sweep.trial import how, model_of
from memprop.traces.trace import Trace
from memprop.units import format_bytes


@dataclass(frozen=True)
class Table:
    """A table of the report: cells are texts, as they are to be read."""

    title: str
    note: str
    cells: pd.DataFrame


@dataclass(frozen=True)
class Picture:
    """A figure of the report and the name of its files."""

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Report:
    """Everything that the report of a sweep says, however it is written down."""

    title: str
    about: str
    findings: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]
    environment: dict[str, Any]
    results: pd.DataFrame


def build_report(spec: SweepSpec, results: pd.DataFrame, environment: dict[str, Any]) -> Report:
    """The report of the sweep that ``spec`` asked for and that gave ``results``."""
    return Report(
        title=spec.title,
        about=_about(spec, results),
        findings=tuple(findings(results)),
        tables=tuple(_tables(results)),
        pictures=tuple(_pictures(spec, results)),
        environment=environment,
        results=results,
    )


def _about(spec: SweepSpec, results: pd.DataFrame) -> str:
    axes = spec.grid.model_dump()
    varied = ", ".join(f"{k} ({', '.join(map(str, v))})" for k, v in axes.items() if len(v) > 1)
    fixed = ", ".join(f"{k} {v[0]}" for k, v in axes.items() if len(v) == 1)
    planned = len(trials(spec))
    part = "" if len(results) == planned else f" of {planned}"
    return (
        f"{len(results)}{part} trials over {varied or 'a single point'}; {fixed}; data: "
        f"{spec.data.source}. Each trial ran real steps in a process of its own."
    )


def _tables(results: pd.DataFrame) -> Iterator[Table]:
    ok = measured(results)
    for name, train in series(results):
        yield Table(f"Peak of a training step with {name}", _PEAK_NOTE, _grid(train, "ledger_peak"))
    for name, inference in series(results, "inference"):
        yield Table(f"Peak of {name}", _PEAK_NOTE, _grid(inference, "ledger_peak"))
    ratios = training_against_inference(results)
    for name, part in ratios.groupby("series", sort=False):
        text = part.assign(text=part["ratio"].map("{:.2f}".format))
        yield Table(f"Training ({name}) to inference", "Ratio of the peaks.", _cells(text, "text"))
    for name, train in series(results):
        text = train.assign(text=_saved(train))
        yield Table(
            f"Cached intermediates of a training step with {name}",
            "How many forward variables are kept for backward, and their bytes.",
            _cells(text, "text"),
        )
    if len(ok):
        yield Table("What the witnesses say", _WITNESS_NOTE, _agreement_cells(results))
    failed = results[results["status"] != "ok"]
    if len(failed):
        columns = ["depth", "batch", "mode", "schedule", "status", "message", "predicted_peak"]
        yield Table("Trials that failed", "", failed[columns].astype("string").fillna("-"))


_PEAK_CAPTIONS = {
    "batch": "Peak memory of one step against batch size, for each depth.",
    "depth": "Peak memory of one step against depth, for each batch size.",
}
_PEAK_NOTE = "Live bytes at the peak by the ledger, parameters included."
_WITNESS_NOTE = (
    "Peak by each independent witness less the ledger's. What is promised: the prediction equals "
    "the ledger; tracemalloc sees Python's objects besides; the kernel counts pages. psutil and "
    "memory_profiler sample, and may miss a short peak."
)


def _grid(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return _cells(table.assign(text=table[column].map(format_bytes)), "text")


def _saved(table: pd.DataFrame) -> list[str]:
    pairs = zip(table["saved_count"], table["saved_bytes"], strict=True)
    return [f"{count} ({format_bytes(size)})" for count, size in pairs]


def _cells(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Depth down, batch across."""
    first = table.drop_duplicates(["depth", "batch"])
    cells = first.pivot_table(index="depth", columns="batch", values=column, aggfunc="first")
    cells = cells.fillna("-")
    cells.columns = pd.Index([f"batch {batch}" for batch in cells.columns])
    cells.insert(0, "depth", [str(depth) for depth in cells.index])
    return cells.reset_index(drop=True)


def _agreement_cells(results: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "witness": a.witness,
            "trials": str(a.trials),
            "median": f"{a.median:+,.0f} B",
            "worst": f"{a.worst:+,} B",
            "worst share of the peak": f"{a.worst_share:.2%}",
            "bound": a.bound or "none",
            "beyond the bound": str(a.broken) if a.bound else "-",
        }
        for a in agreements(results)
    ]
    return pd.DataFrame(rows)


def _pictures(spec: SweepSpec, results: pd.DataFrame) -> Iterator[Picture]:
    if measured(results).empty:
        return
    for along in ("batch", "depth"):
        figure = plots.styled(lambda along=along: plots.peak_against(results, along))
        yield Picture(f"peak_against_{along}", _PEAK_CAPTIONS[along], figure)
    if not training_against_inference(results).empty:
        caption = "How many times the memory of inference a training step needs."
        yield Picture("ratio", caption, plots.styled(lambda: plots.ratio_map(results)))
    yield from _steps(spec, results)


def _steps(spec: SweepSpec, results: pd.DataFrame) -> Iterator[Picture]:
    """One step of the sweep, from the middle of its axes, under each schedule."""
    traces = _example_traces(spec, results)
    if not traces:
        return
    yield Picture(
        "timeline",
        "One training step, event by event: live bytes by category.",
        plots.styled(lambda: plots.timelines(traces)),
    )
    for schedule, (title, trace) in zip(_schedules(results), traces, strict=True):
        yield Picture(
            f"lifetimes_{schedule.replace(':', '_')}",
            f"The lives of the cached intermediates with {schedule}; a mark is a reuse.",
            plots.styled(lambda title=title, trace=trace: plots.lifetimes(title, trace)),
        )


def _schedules(results: pd.DataFrame) -> list[str]:
    ok = measured(results)
    return list(ok.loc[ok["mode"] == "train", "schedule"].unique())


def _example_traces(spec: SweepSpec, results: pd.DataFrame) -> list[tuple[str, Trace]]:
    chosen = {}
    for trial in trials(spec):
        middle = trial.depth == _middle(spec.grid.depth) and trial.batch == _middle(spec.grid.batch)
        if trial.mode == "train" and middle:
            chosen.setdefault(trial.schedule, trial)
    try:
        data = load_data(spec.data.source)
    except DataError:
        return []  # the file has gone since the sweep ran; its results are still there
    return [
        (
            f"{schedule}: depth {trial.depth}, width {trial.width}, batch {trial.batch}",
            simulate(
                model_of(trial, data.features, data.classes),
                trial.batch,
                **how(trial),
            ),
        )
        for schedule, trial in chosen.items()
        if schedule in _schedules(results)
    ]


def _middle(values: tuple[int, ...]) -> int:
    return sorted(values)[len(values) // 2]
