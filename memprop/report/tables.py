"""The tables of a report: cells are texts, as they are to be read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from memprop.report import tradeoff, witnesses
from memprop.report.frames import (
    agreements,
    measured,
    series,
    shown_in_series,
    training_against_inference,
)
from memprop.units import format_bytes


@dataclass(frozen=True)
class Table:
    """A table of the report: cells are texts, as they are to be read.

    ``section`` is its subject: "numbers", "witnesses" or "failures".
    """

    title: str
    note: str
    cells: pd.DataFrame
    section: str = "numbers"


def tables_of(results: pd.DataFrame) -> Iterator[Table]:
    """The tables of a sweep that ran."""
    ok = measured(results)
    yield from series_tables(shown_in_series(results))
    traded = tradeoff.tradeoffs(shown_in_series(results))
    if len(traded):
        yield Table("Memory against recomputation", _TRADEOFF_NOTE, tradeoff.cells(traded))
    if len(ok):
        yield Table("What the witnesses say", _WITNESS_NOTE, _agreement_cells(results), "witnesses")
        cells = witnesses.cells(results)
        yield Table("The witnesses, trial by trial", _TRIALS_NOTE, cells, "witnesses")
    failed = results[results["status"] != "ok"]
    if len(failed):
        columns = ["depth", "batch", "mode", "schedule", "status", "message", "predicted_peak"]
        cells = failed[columns].astype("string").fillna("-")
        yield Table("Trials without a measurement", "", cells, "failures")


def series_tables(results: pd.DataFrame) -> Iterator[Table]:
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
