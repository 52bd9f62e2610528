"""The steps and the plans that a report shows, stored when a sweep ends.

A report is made from what is stored, so it needs neither the data nor the model. ``steps.zip``
holds traces of simulated steps, the most telling first; ``frontiers.csv`` holds what the
planner can do with the networks of the sweep at its largest batch size.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from memprop.data import Dataset, load_data
from memprop.engine.step import predicted_trace
from memprop.errors import DataError, MempropError
from memprop.files import write_whole
from memprop.sweep.axes import TABLE
from memprop.sweep.model import model_of, step_options
from memprop.sweep.plan import Point, Trial, trials
from memprop.sweep.results import load_results
from memprop.sweep.spec import SweepSpec
from memprop.terms import MODES
from memprop.traces.io import parts_of, to_bytes
from memprop.traces.trace import Trace
from memprop.tradeoff import frontier

STEPS: Final = "steps.zip"
FRONTIERS: Final = "frontiers.csv"
MOST_STEPS: Final = 60
MOST_BYTES: Final = 4_000_000
"""Of all traces together; the most telling are stored."""

_MOST_VALUES: Final = 7
_SAME_DATE: Final = (1980, 1, 1, 0, 0, 0)
_SERIES: Final = tuple(axis.name for axis in TABLE if axis.name not in ("depth", "batch"))
"""What distinguishes two series of trials."""


@dataclass(frozen=True)
class Examples:
    """What a folder holds for its report.

    Attributes:
        steps: the traces by the name of their point (:func:`point_name`), those first that tell
            most.
        frontiers: for each depth the table of :func:`memprop.frontier`, at the largest batch size.
        stored: whether the sweep stored them; earlier versions did not.
    """

    steps: Mapping[str, Trace] = field(default_factory=dict)
    frontiers: Mapping[int, pd.DataFrame] = field(default_factory=dict)
    stored: bool = False

    def step(self, point: Mapping[Any, Any]) -> Trace | None:
        """The trace of a step at the point with these axes; ``None`` if it was not stored."""
        return self.steps.get(point_name(point))


def point_name(point: Mapping[Any, Any]) -> str:
    """16 hexadecimal digits for the axes of a point; those at their default do not count."""
    values = {axis.name: axis.check.kind(point[axis.name]) for axis in TABLE}
    if values["mode"] not in MODES:  # a point that was only predicted is one of training
        values["mode"] = "train"
    usual = {axis.name: axis.default for axis in TABLE if axis.default is not MISSING}
    others = {n: value for n, value in values.items() if usual.get(n, MISSING) != value}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()[:16]


def measured(results: pd.DataFrame) -> pd.DataFrame:
    """The trials that ran to the end."""
    return results[results["status"] == "ok"].reset_index(drop=True)


def as_if_measured(results: pd.DataFrame) -> pd.DataFrame:
    """Predictions in place of measurements, for figures and tables of a simulated sweep.

    Of a long axis of depths or batch sizes some values are taken, its ends among them.
    """
    shown = results[results["status"] == "simulated"]
    for axis in ("depth", "batch"):
        values = np.sort(shown[axis].unique())
        if len(values) > _MOST_VALUES:
            places = np.unique(np.geomspace(1, len(values), _MOST_VALUES).round().astype(int)) - 1
            shown = shown[shown[axis].isin(values[places])]
    return shown.assign(ledger_peak=shown["predicted_peak"], status="ok", mode="train")


def store_examples(spec: SweepSpec, folder: Path, results: pd.DataFrame | None = None) -> None:
    """Write what the report of the sweep in ``folder`` shows of single steps and of plans.

    Args:
        spec: of the sweep.
        folder: where its results are.
        results: these results; they are read if they are not given.

    Raises:
        DataError: the data of the sweep, or its results, cannot be read.
        OutputError: the folder cannot be written.
    """
    data = load_data(spec.data.source)
    results = load_results(folder) if results is None else results
    _write_steps(folder / STEPS, _traces(spec, results, data))
    tables = list(_frontiers(spec, results, data))
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["depth"])
    write_whole(folder / FRONTIERS, table.to_csv(index=False))


def load_examples(folder: Path) -> Examples:
    """What :func:`store_examples` wrote; nothing if an earlier version wrote the folder.

    Raises:
        DataError: a file is damaged.
    """
    if not ((folder / STEPS).is_file() and (folder / FRONTIERS).is_file()):
        return Examples()
    try:
        with zipfile.ZipFile(folder / STEPS) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        steps = {name: Trace.of_parts(parts_of(data, name)) for name, data in files.items()}
        table = pd.read_csv(folder / FRONTIERS, converters={"slowdown": float})  # to the last digit
        frontiers = {
            int(str(depth)): part.drop(columns="depth").reset_index(drop=True)
            for depth, part in table.groupby("depth")
        }
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, MempropError) as error:
        raise DataError(
            f"what the report of {folder} shows is damaged: {error}; run the sweep again, which "
            "runs no trial twice"
        ) from None
    return Examples(steps, frontiers, stored=True)


def _write_steps(path: Path, traces: Iterator[tuple[str, Trace]]) -> None:
    written, room = io.BytesIO(), MOST_BYTES
    with zipfile.ZipFile(written, "w") as archive:
        for name, trace in traces:
            data = to_bytes(trace)
            room -= len(data)
            if room < 0:
                break
            # The same steps are the same file, byte for byte; what is in it is compressed already.
            archive.writestr(zipfile.ZipInfo(name, _SAME_DATE), data)
    write_whole(path, written.getvalue())


def _traces(spec: SweepSpec, results: pd.DataFrame, data: Dataset) -> Iterator[tuple[str, Trace]]:
    """The traces of the chosen points, each once, but for impossible ones."""
    seen = set()
    for point in _chosen(spec, results):
        name = point_name(point.axes())
        if name in seen:
            continue
        seen.add(name)
        try:
            model = model_of(point, data.features, data.classes)
            yield name, predicted_trace(model, point.batch, step_options(point))
        except MempropError:  # a message of the results says so
            continue


def _chosen(spec: SweepSpec, results: pd.DataFrame) -> Iterator[Point]:
    """The points of which a step is shown, the most telling first."""
    if spec.simulated:
        shown = as_if_measured(results)
    else:
        shown = measured(results)
        ran = set(shown.loc[shown["mode"] == "train", "schedule"])
        yield from (trial for name, trial in middle_trials(spec).items() if name in ran)
    for row in by_interest(shown).head(MOST_STEPS).to_dict(orient="records"):
        yield _point(row, spec.data.source)


def middle_trials(spec: SweepSpec) -> dict[str, Trial]:
    """For each schedule a training trial in the middle of depths and batch sizes."""
    chosen: dict[str, Trial] = {}
    first = spec.grid[0]
    for trial in trials(spec):
        middle = trial.depth == _middle(first.depth) and trial.batch == _middle(first.batch)
        if trial.mode == "train" and middle:
            chosen.setdefault(trial.schedule, trial)
    return chosen


def _middle(values: tuple[int, ...]) -> int:
    return sorted(values)[len(values) // 2]


def by_interest(results: pd.DataFrame) -> pd.DataFrame:
    """The trials, those at the ends and in the middle of both axes of a series first."""
    rank = pd.Series(0, index=results.index)
    for axis in ("depth", "batch"):
        values = results.groupby(list(_SERIES))[axis]
        middle = values.transform(lambda column: sorted(column)[len(column) // 2])
        ends = (results[axis] == values.transform("min")) | (
            results[axis] == values.transform("max")
        )
        rank += (~ends).astype(int) * (1 + (results[axis] != middle).astype(int))
    return results.assign(rank=rank).sort_values("rank", kind="stable")


def _point(row: Mapping[Any, Any], source: str) -> Point:
    """The point of a row of results."""
    axes = {axis.name: row[axis.name] for axis in TABLE}
    mode = row["mode"] if row["mode"] in MODES else "train"
    return Point(**{**axes, "mode": mode}, seed=int(row["seed"]), data_source=source)


def _frontiers(spec: SweepSpec, results: pd.DataFrame, data: Dataset) -> Iterator[pd.DataFrame]:
    """The planned trade-off at the largest batch size at which a trial computed again."""
    ok = measured(results)
    again = ok[(ok["mode"] == "train") & (ok["recomputed_flops"] > 0)]
    if again.empty:
        return
    chosen: dict[int, Trial] = {}
    for trial in trials(spec):
        if trial.mode == "train" and trial.batch == again["batch"].max():
            chosen.setdefault(trial.depth, trial)
    for depth, trial in chosen.items():
        table = frontier(
            model_of(trial, data.features, data.classes),
            trial.batch,
            optimizer=trial.optimizer,
            update=trial.update,
        )
        table.insert(0, "depth", depth)
        yield table
