"""The report of a sweep: its findings, tables and figures, made from the stored results.

The results are all that is read, so a report can be written again at any time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from matplotlib.figure import Figure

from memprop.data import Dataset, load_data
from memprop.engine.step import simulate
from memprop.errors import DataError
from memprop.report import breakdown, plots, tradeoff, tradeoff_plots, witnesses
from memprop.report.findings import agreement_findings, findings
from memprop.report.frames import (
    agreements,
    as_if_measured,
    differences,
    measured,
    series,
    training_against_inference,
)
from memprop.sweep.model import how, model_of
from memprop.sweep.plan import AXES, Trial, trials
from memprop.sweep.spec import SweepSpec
from memprop.traces.trace import Trace
from memprop.tradeoff import frontier
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
    if spec.simulated:
        return _of_predictions(spec, results, environment)
    return Report(
        title=spec.title,
        about=_about(spec, results),
        findings=(
            *findings(_shown_in_series(results)),
            *breakdown.told(results),
            *tradeoff.told(tradeoff.tradeoffs(_shown_in_series(results))),
            *agreement_findings(results),
        ),
        tables=tuple(_tables(results)),
        pictures=tuple(_pictures(spec, results)),
        environment=environment,
        results=results,
    )


def _of_predictions(spec: SweepSpec, results: pd.DataFrame, environment: dict[str, Any]) -> Report:
    """The report of a sweep that ran nothing: of many points a few are shown."""
    every = as_if_measured(results)
    shown = _shown_in_series(every)
    wrong = int((results["status"] == "error").sum())
    told = [f"{wrong} of {len(results)} points make no sense: see message."] if wrong else []
    pictures = _peak_pictures(every) if len(every) else ()
    return Report(
        title=spec.title,
        about=f"{len(results):,} points over {_axes(spec)}; data: {spec.data.source}. All peaks "
        "are predicted and nothing was run; of long axes some values are shown here.",
        findings=(*findings(shown), *breakdown.told(shown), *told),
        tables=tuple(_series_tables(shown)),
        pictures=tuple(pictures),
        environment=environment,
        results=results,
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


def _tables(results: pd.DataFrame) -> Iterator[Table]:
    ok = measured(results)
    yield from _series_tables(_shown_in_series(results))
    traded = tradeoff.tradeoffs(_shown_in_series(results))
    if len(traded):
        yield Table("Memory against recomputation", _TRADEOFF_NOTE, tradeoff.cells(traded))
    if len(ok):
        yield Table("What the witnesses say", _WITNESS_NOTE, _agreement_cells(results))
        yield Table("The witnesses, trial by trial", _TRIALS_NOTE, witnesses.cells(results))
    failed = results[results["status"] != "ok"]
    if len(failed):
        columns = ["depth", "batch", "mode", "schedule", "status", "message", "predicted_peak"]
        yield Table(
            "Trials without a measurement", "", failed[columns].astype("string").fillna("-")
        )


_MOST_SERIES: Final = 12
"""More cannot be told apart in a figure; a table for each would be a long read."""


def _few(results: pd.DataFrame) -> bool:
    """Whether the training trials are few enough series to show one by one."""
    return len(series(results)) <= _MOST_SERIES


def _shown_in_series(results: pd.DataFrame) -> pd.DataFrame:
    """The results, or none of them where the series are too many."""
    return results if _few(results) else results.head(0)


def _series_tables(results: pd.DataFrame) -> Iterator[Table]:
    """Depth by batch for each series."""
    peaks = [(n, _texts(t, t["ledger_peak"].map(format_bytes))) for n, t in series(results)]
    yield from _grids("Peak of a training step", _PEAK_NOTE, peaks)
    for name, inference in series(results, "inference"):
        text = _texts(inference, inference["ledger_peak"].map(format_bytes))
        yield Table(f"Peak of {name}", _PEAK_NOTE, _cells(text))
    ratios = training_against_inference(results).groupby("series", sort=False)
    texts = [(str(n), _texts(part, part["ratio"].map("{:.2f}".format))) for n, part in ratios]
    yield from _grids("Training to inference", "Ratio of the peaks.", texts)
    saved = [(n, _texts(t, _saved(t))) for n, t in series(results)]
    yield from _grids("Cached intermediates of a training step", _SAVED_NOTE, saved)


_PEAK_CAPTIONS = {
    "batch": "Peak memory of one step against batch size, for each depth.",
    "depth": "Peak memory of one step against depth, for each batch size.",
}
_PEAK_NOTE = "Live bytes at the peak by the ledger, parameters included."
_SAVED_NOTE = "How many forward variables are kept for backward, and their bytes."
_TRADEOFF_NOTE = (
    "Peak by the ledger, against the schedule lean, which computes nothing twice. The predicted "
    "slow-down is the ratio of all FLOPs, the measured one that of the median times of a step."
)
_WITNESS_NOTE = (
    "Peak by each independent witness less the ledger's. What is promised: the prediction equals "
    "the ledger; tracemalloc sees Python's objects besides; the kernel counts pages. psutil and "
    "memory_profiler sample, and may miss a short peak."
)


_TRIALS_NOTE = (
    "The peak by the ledger in bytes, and by how much each witness differs from it; (!) is beyond "
    "its bound."
)


def _texts(table: pd.DataFrame, texts: Iterable[str]) -> pd.DataFrame:
    """The trials of a series, each with a text to be shown at its depth and batch."""
    return table[["depth", "batch"]].assign(text=list(texts))


def _saved(table: pd.DataFrame) -> list[str]:
    pairs = zip(table["saved_count"], table["saved_bytes"], strict=True)
    return [f"{count} ({format_bytes(size)})" for count, size in pairs]


def _grids(title: str, note: str, named: Sequence[tuple[str, pd.DataFrame]]) -> Iterator[Table]:
    """A table for each series, depth down and batch across; one for all where batch is fixed."""
    if len(named) > 1 and pd.concat([table["batch"] for _, table in named]).nunique() == 1:
        batch = named[0][1]["batch"].iloc[0]
        both = pd.concat([table.assign(series=name) for name, table in named])
        yield Table(f"{title}, batch {batch}", note, _pivoted(both, "series"))
        return
    for name, table in named:
        yield Table(f"{title}: {name}", note, _cells(table))


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    """Depth down, batch across."""
    cells = _pivoted(table, "batch")
    return cells.rename(columns={name: f"batch {name}" for name in cells.columns[1:]})


def _pivoted(table: pd.DataFrame, across: str) -> pd.DataFrame:
    first = table.drop_duplicates(["depth", across])
    order = list(dict.fromkeys(first[across] if across == "series" else sorted(first[across])))
    cells = first.pivot_table(index="depth", columns=across, values="text", aggfunc="first")
    cells = cells[order].fillna("-")
    cells.insert(0, "depth", [str(depth) for depth in cells.index])
    cells.columns.name = None
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
    yield from _peak_pictures(results)
    yield from _tradeoff(spec, results)
    if differences(results).shape[1] > 1:
        caption = (
            "How far each witness is from the ledger; the lines are what is promised. Differences "
            "below 256 B are drawn there."
        )
        figure = plots.styled(lambda: witnesses.agreement(results))
        yield Picture("witnesses", caption, figure)
    yield from _steps(spec, results)


def _peak_pictures(results: pd.DataFrame) -> Iterator[Picture]:
    """How large the peaks are, and what they are made of."""
    bars = breakdown.bars(results)
    if len(bars):
        along = " and ".join(breakdown.varied(results))
        caption = f"What the peak is made of, by {along}, at the largest depth."
        yield Picture("breakdown", caption, plots.styled(lambda: breakdown.breakdown(bars)))
    for along in ("batch", "depth") if _few(results) else ():
        if measured(results)[along].nunique() == 1 < len(measured(results)):
            continue
        figure = plots.styled(lambda along=along: plots.peak_against(results, along))
        yield Picture(f"peak_against_{along}", _PEAK_CAPTIONS[along], figure)
    if _few(results) and not training_against_inference(results).empty:
        caption = "How many times the memory of inference a training step needs."
        yield Picture("ratio", caption, plots.styled(lambda: plots.ratio_map(results)))


def _tradeoff(spec: SweepSpec, results: pd.DataFrame) -> Iterator[Picture]:
    """What is saved by computing again, where the sweep has schedules that do."""
    table = tradeoff.tradeoffs(_shown_in_series(results))
    if table.empty:
        return
    largest = table[table["batch"] == table["batch"].max()]
    frontiers = _frontiers(spec, largest)
    yield Picture(
        "memory_against_recomputation",
        f"Each schedule at batch {largest['batch'].iloc[0]}: its peak, and its FLOPs against those "
        "of lean. The line is the planner's for every budget from one solve; a budget planned by "
        "itself may find a little less.",
        plots.styled(lambda: tradeoff_plots.memory_against_recomputation(largest, frontiers)),
    )
    if table["measured_slowdown"].notna().any():
        yield Picture(
            "measured_against_predicted",
            "The time of a step against what its FLOPs predict, both as multiples of lean.",
            plots.styled(lambda: tradeoff_plots.measured_against_predicted(table)),
        )


def _frontiers(spec: SweepSpec, table: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """For each depth the planned trade-off; none where ``table`` has more than one network each."""
    chosen: dict[int, Trial] = {}
    for trial in trials(spec):
        if trial.mode == "train" and trial.batch == table["batch"].iloc[0]:
            chosen.setdefault(trial.depth, trial)
    one_each = table.groupby(["depth", "schedule"]).size().max() == 1
    data = _data(spec)
    if data is None or not one_each:
        return {}
    return {
        depth: frontier(
            model_of(trial, data.features, data.classes),
            trial.batch,
            optimizer=trial.optimizer,
            update=trial.update,
        )
        for depth, trial in chosen.items()
    }


def _data(spec: SweepSpec) -> Dataset | None:
    """The data of the sweep; ``None`` if the file has gone since, for its results remain."""
    try:
        return load_data(spec.data.source)
    except DataError:
        return None


def _steps(spec: SweepSpec, results: pd.DataFrame) -> Iterator[Picture]:
    """One step of the sweep, from the middle of its axes, under each schedule."""
    traces = _example_traces(spec, results)
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


def _example_traces(spec: SweepSpec, results: pd.DataFrame) -> dict[str, tuple[str, Trace]]:
    """For each schedule that is shown, the title and the trace of a step in the middle."""
    chosen, first = {}, spec.grid[0]
    for trial in trials(spec):
        middle = trial.depth == _middle(first.depth) and trial.batch == _middle(first.batch)
        if trial.mode == "train" and middle:
            chosen.setdefault(trial.schedule, trial)
    data = _data(spec)
    if data is None:
        return {}
    return {
        schedule: (
            f"{schedule}: depth {trial.depth}, width {trial.width}, batch {trial.batch}",
            simulate(
                model_of(trial, data.features, data.classes),
                trial.batch,
                **how(trial),
            ),
        )
        for schedule in _shown(results)
        if (trial := chosen.get(schedule))
    }


def _middle(values: tuple[int, ...]) -> int:
    return sorted(values)[len(values) // 2]
