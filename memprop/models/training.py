"""Training loops over the engine's steps: fit, outputs, score."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from memprop.checks import check_integer_from_zero, check_positive_integer
from memprop.engine.inputs import Inputs, as_array
from memprop.engine.prepare import Model
from memprop.engine.step import Step
from memprop.errors import DataError, InvalidTypeError, InvalidValueError
from memprop.graph.optimizers import Optimizer, optimizer_named
from memprop.schedules.schedule import Schedule

if TYPE_CHECKING:
    import pandas as pd

Data = tuple[np.ndarray, np.ndarray]


def fit(
    model: Model,
    x: ArrayLike,
    y: ArrayLike,
    *,
    epochs: int,
    batch: SupportsIndex,
    optimizer: str | Optimizer,
    schedule: str | Schedule,
    update: str,
    validation: tuple[ArrayLike, ArrayLike] | None,
    seed: int,
    progress: bool | None,
) -> "pd.DataFrame":
    """Train ``model`` in place: see :meth:`memprop.MLP.fit`."""
    import pandas as pd

    if optimizer_named(optimizer) is None:
        raise InvalidValueError("fit needs an optimizer, such as 'adam' or mp.SGD(0.1)")
    data = _samples(model, x, y)
    held_out = None if validation is None else _samples(model, *_pair(validation))
    size = min(check_positive_integer("batch", batch), len(data[0]))
    step = Step(model, size, schedule, optimizer=optimizer, record=False, update=update)
    generator = np.random.default_rng(check_integer_from_zero("seed", seed))
    rows = []
    with _progress(check_positive_integer("epochs", epochs), progress) as report:
        for epoch in range(1, epochs + 1):
            begin = time.perf_counter()
            row = {"epoch": epoch, **_epoch(step, data, generator)}
            row["seconds"] = time.perf_counter() - begin
            if held_out is not None:
                row["validation_score"] = score(model, *held_out)
            rows.append(row)
            report(row)
    return pd.DataFrame(rows)


def _epoch(step: Step, data: Data, generator: np.random.Generator) -> dict[str, float]:
    """One pass over ``data`` in random order; the mean of loss and objective over the samples."""
    x, y = data
    order = generator.permutation(len(x))
    totals = {"loss": 0.0, "objective": 0.0}
    for start in range(0, len(x), step.batch):
        rows = order[start : start + step.batch]
        # What is left over at the end is a step of its own size on the same state.
        run = step if len(rows) == step.batch else step.with_batch(len(rows))
        run(x[rows], y[rows])
        for name in totals:
            totals[name] += run.outputs[name] * len(rows) / len(x)
    if not math.isfinite(totals["objective"]):
        raise DataError(
            "training diverged: the objective is no longer a finite number. "
            "Try a smaller learning rate, or scale the data"
        )
    return totals


def outputs(model: Model, x: ArrayLike, *, batch: SupportsIndex = 1024) -> np.ndarray:
    """The output o of every sample, shape (samples, outputs), computed batch by batch."""
    x = as_array("x", x)
    if x.ndim < 2 or not len(x):
        raise InvalidValueError(f"x must have the shape (samples, inputs), got {x.shape}")
    size = min(check_positive_integer("batch", batch), len(x))
    step = Step(model, size, mode="inference", record=False)
    parts = []
    for start in range(0, len(x), step.batch):
        rows = x[start : start + step.batch]
        run = step if len(rows) == step.batch else step.with_batch(len(rows))
        parts.append(run(rows))
    found = np.concatenate(parts)
    if not np.isfinite(found).all():
        raise DataError("the model's outputs are not finite numbers: its parameters have diverged")
    return found


def score(model: Model, x: ArrayLike, y: ArrayLike, *, batch: SupportsIndex = 1024) -> float:
    """Accuracy for integer labels, the mean squared error for targets."""
    x, y = _samples(model, x, y)
    predicted = outputs(model, x, batch=batch)
    if y.ndim < predicted.ndim:
        return float(np.mean(predicted.argmax(axis=1) == y))
    return float(np.mean((predicted - y) ** 2))


def _samples(model: Model, x: ArrayLike, y: ArrayLike) -> Data:
    """``x`` and ``y`` as arrays that the model can be trained on, all rows checked."""
    samples, targets = as_array("x", x), as_array("y", y)
    if samples.ndim < 2:
        raise InvalidValueError(f"x must have the shape (samples, inputs), got {samples.shape}")
    if not len(samples):
        raise DataError("x is empty: there is nothing to learn from")
    if not targets.ndim or len(targets) != len(samples):
        raise InvalidValueError(f"x has {len(samples)} samples, but y the shape {targets.shape}")
    with np.errstate(all="ignore"):
        checked = Inputs(model.graph("train"), len(samples)).check({"x": samples, "y": targets})
    return checked["x"], checked["y"]


def _pair(validation: object) -> tuple[ArrayLike, ArrayLike]:
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise InvalidTypeError(f"validation must be a pair (x, y), got {type(validation).__name__}")
    return validation[0], validation[1]


@contextmanager
def _progress(epochs: int, wanted: bool | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function to call after each epoch; it moves a bar on stderr where that is wanted."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("epoch"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=epochs)

        def report(row: dict[str, Any]) -> None:
            numbers = ("loss", "validation_score")
            text = "  ".join(f"{name} {row[name]:.4f}" for name in numbers if name in row)
            bar.update(task, advance=1, description=text)

        yield report
