"""Sweeps of mode "simulate": every point predicted, none run.

All that a step needs is affine in the batch size from event to event, so two simulations tell a
network's figures for all batch sizes at once, and a million points take seconds.
"""

import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from memprop.capacity import Lines, lines_of
from memprop.data import Dataset, load_data
from memprop.engine.prepare import depends_on_batch, micro_batches_of
from memprop.engine.step import predicted_trace
from memprop.errors import MempropError, OutputError
from memprop.files import make_folder, write_whole
from memprop.models.mlp import MLP
from memprop.sweep.axes import AXES
from memprop.sweep.lock import locked
from memprop.sweep.measurement import Measurement
from memprop.sweep.model import model_of, step_options
from memprop.sweep.plan import Point
from memprop.sweep.results import tidy, write_results
from memprop.sweep.spec import GridSpec, SweepSpec
from memprop.sweep.store import FILE, remove_store
from memprop.terms import CATEGORIES
from memprop.traces.trace import Trace

if TYPE_CHECKING:
    from pandas import DataFrame

_OTHERS: Final = tuple(axis for axis in AXES if axis != "batch")


def predict_sweep(
    spec: SweepSpec,
    folder: str | os.PathLike[str],
    *,
    fresh: bool = False,
    files: Mapping[str, str] | None = None,
) -> int:
    """Write the predictions of ``spec`` into ``folder``, as the results of a sweep.

    Args:
        spec: what to predict.
        folder: is made if need be.
        fresh: replace measured results that are there.
        files: texts to write into the folder, by name.

    Returns:
        How many points were predicted.

    Raises:
        FolderInUseError: a sweep runs in the folder.
        OutputError: the folder cannot be written, or holds measured results.
    """
    folder = Path(folder)
    make_folder(folder)
    with locked(folder):
        if (folder / FILE).exists() and not fresh:
            raise OutputError(
                f"{folder} holds measured results: choose another folder with --out, or --fresh"
            )
        table = predictions(spec)
        remove_store(folder)
        for name, text in (files or {}).items():
            write_whole(folder / name, text)
        write_results(table, folder)
    return len(table)


def predictions(spec: SweepSpec) -> "DataFrame":
    """A row for each point of the grids of ``spec``, with the columns of results.

    ``status`` is "simulated", or "error" where the point makes no sense; what only a real step can
    tell is missing.
    """
    import pandas as pd

    data = load_data(spec.data.source)
    parts = [part for grid in spec.grid for part in _of_grid(grid, spec.seed, data)]
    table = pd.concat(parts, ignore_index=True)
    if len(spec.grid) > 1:
        table = table.drop_duplicates(list(AXES), ignore_index=True)
    return tidy(table)


def _of_grid(grid: GridSpec, seed: int, data: Dataset) -> "Iterator[DataFrame]":
    """The points of one grid, a table for each network and schedule."""
    import pandas as pd

    batches = np.array(grid.batch, dtype=np.int64)
    for point in itertools.product(*(getattr(grid, axis) for axis in _OTHERS)):
        fixed = dict(zip(_OTHERS, point, strict=True))
        rows = _rows(_point(fixed, seed, data), batches, data)
        made = pd.DataFrame({"batch": batches, **rows})
        yield made.assign(**fixed, seed=seed)


def _point(fixed: dict[str, Any], seed: int, data: Dataset) -> Point:
    """A point of training with these axes."""
    return Point(**{**fixed, "mode": "train"}, batch=1, seed=seed, data_source=data.name)


def _rows(point: Point, batches: np.ndarray, data: Dataset) -> dict[str, Any]:
    """The columns of a trial at each batch size."""
    try:
        model = model_of(point, data.features, data.classes)
        if depends_on_batch(point.schedule):
            return _one_by_one(model, point, batches)
        return _all_at_once(model, point, batches)
    except MempropError as error:
        return {"status": "error", "message": str(error)}


def _all_at_once(model: MLP, point: Point, batches: np.ndarray) -> dict[str, Any]:
    micro_batches = micro_batches_of(point.schedule)
    options = step_options(point)
    lines = lines_of(model, options)
    one, two = (predicted_trace(model, micro_batches * rows, options) for rows in (1, 2))
    found = _described(lines, one, two, batches // micro_batches)
    even = batches % micro_batches == 0
    if even.all():
        return {**found, "status": "simulated", "message": ""}
    uneven = (
        f"a batch that is no multiple of {micro_batches} cannot be taken in {micro_batches} equal "
        "micro-batches"
    )
    nothing = np.array(None, dtype=object)
    masked = {name: np.where(even, values, nothing) for name, values in found.items()}
    status, message = np.where(even, "simulated", "error"), np.where(even, "", uneven)
    return {**masked, "status": status, "message": message}


def _described(lines: Lines, one: Trace, two: Trace, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What a trace says of a step, for each number of samples in a micro-batch."""
    # The first of the events at which live bytes are largest is the peak, as in a trace.
    each = sorted(lines.each, key=lambda line: line.event)
    values = np.array([[line.constant] for line in each])
    values = values + np.array([[line.slope] for line in each]) * rows
    highest = values.argmax(axis=0)
    events = np.array([line.event for line in each])
    constant, slope = _affine(one.live.by_category[events], two.live.by_category[events])
    by_category = constant[highest] + slope[highest] * rows[:, None]
    operators = np.array([one.operator_at(event) for event in events])
    affine = {
        "saved_bytes": (one.saved_bytes, two.saved_bytes),
        **{name: (one.about[name], two.about[name]) for name in ("flops", "recomputed_flops")},
    }
    pairs = {name: _affine(*both) for name, both in affine.items()}
    return {
        "predicted_peak": values.max(axis=0),
        **{f"peak_{name}": by_category[:, i] for i, name in enumerate(CATEGORIES)},
        "peak_operator": operators[highest],
        **{name: base + per_row * rows for name, (base, per_row) in pairs.items()},
        "saved_count": np.full(len(rows), len(one.saved)),
        "persistent_bytes": np.full(len(rows), one.persistent_bytes),
    }


def _affine(at_one: Any, at_two: Any) -> tuple[Any, Any]:
    """Constant and slope of the line through its values at 1 and 2."""
    slope = at_two - at_one
    return at_one - slope, slope


def _one_by_one(model: MLP, point: Point, batches: np.ndarray) -> dict[str, Any]:
    """Where each batch size has a schedule of its own."""
    found = []
    for batch in batches.tolist():
        try:
            trace = predicted_trace(model, batch, step_options(point))
            found.append(Measurement.of_step(trace).columns())
        except MempropError as error:
            found.append(Measurement(status="error", message=str(error)).columns())
    names = dict.fromkeys(name for row in found for name in row)
    return {name: [row.get(name) for row in found] for name in names}
