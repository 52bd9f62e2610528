"""One trial, alone in a process: the trial as JSON from stdin, its row as JSON to stdout.

In this order: the prediction, which costs nothing; the ledger of a real step; each witness, which
watches steps of its own; the times, of steps that nobody watches.
"""

import json
import resource
import statistics
import sys
import time
from typing import Any

import numpy as np

from memprop.data import Dataset, load_data
from memprop.engine.step import Step, simulate
from memprop.models.mlp import MLP
from memprop.probes import witness
from memprop.sweep.batches import arrays_for
from memprop.sweep.plan import Trial
from memprop.traces.trace import Trace

Row = dict[str, Any]


def run_trial(trial: Trial) -> Row:
    """The row of ``trial``: what was predicted, and what was seen when it really ran.

    Where memory runs out the row says so, and holds the prediction all the same.
    """
    data = load_data(trial.data_source)
    model = model_of(trial, data.features, data.classes)
    predicted = simulate(model, trial.batch, **how(trial))
    row: Row = {"predicted_peak": predicted.peak, **_described(predicted)}
    try:
        return {"status": "ok", **row, **_measured(trial, model, data)}
    except MemoryError as error:
        return {"status": "oom", "message": f"out of memory: {error}".rstrip(": "), **row}


def model_of(trial: Trial, features: int, classes: int) -> MLP:
    """The model that ``trial`` trains, for data of so many features and classes."""
    return MLP(
        [features, *[trial.width] * trial.depth, classes],
        activation=trial.activation,
        bias=trial.bias,
        loss=trial.loss,
        l2=trial.l2,
        dtype=trial.dtype,
        dropout=trial.dropout,
        dropout_mask=trial.dropout_mask,
        norm=trial.norm,
        residual=trial.residual,
        seed=trial.seed,
    )


def how(trial: Trial) -> dict[str, Any]:
    """The arguments of a step, and of its prediction."""
    return {
        "schedule": trial.schedule,
        "mode": trial.mode,
        "optimizer": trial.optimizer,
        "update": trial.update,
    }


def _described(trace: Trace) -> Row:
    """What a trace says of a step, whether it ran or not."""
    return {
        **{f"peak_{name}": size for name, size in trace.peak_by_category().items()},
        "peak_operator": trace.peak_operator,
        "saved_bytes": trace.saved_bytes,
        "saved_count": len(trace.saved),
        "persistent_bytes": trace.persistent_bytes,
        "flops": trace.about["flops"],
        "recomputed_flops": trace.about["recomputed_flops"],
    }


def _measured(trial: Trial, model: MLP, data: Dataset) -> Row:
    arrays = arrays_for(model, data, trial.batch, trial.mode, trial.seed)
    step = Step(model, trial.batch, allocator="heap", **how(trial))
    step(*arrays)
    trace = step.trace
    row: Row = {"ledger_peak": trace.peak, **_described(trace)}
    step.release()

    def watched() -> None:
        step(*arrays)
        step.release()  # what a step leaves behind is part of its own peak, not of the next one's

    for name in trial.witnesses:
        growth = witness(name)(watched)
        # Parameters and optimizer state are there before the step: no witness sees them grow.
        row[f"{name}_peak"] = None if growth is None else growth + trace.persistent_bytes
    row["step_seconds"] = _step_seconds(trial, model, arrays)
    return row


def _step_seconds(trial: Trial, model: MLP, arrays: tuple[np.ndarray, ...]) -> float:
    """The median over the repeats of the mean time of a step, in the arena that training uses."""
    step = Step(model, trial.batch, allocator="arena", record=False, **how(trial))
    step(*arrays)
    means = []
    for _ in range(trial.repeats):
        begin = time.perf_counter()
        for _ in range(trial.steps):
            step(*arrays)
        means.append((time.perf_counter() - begin) / trial.steps)
    return statistics.median(means)


def _limit_memory(limit_bytes: int | None) -> None:
    """Let the operating system refuse this process more address space than that."""
    if limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def main() -> None:
    """Read a trial, run it, write its row."""
    trial = Trial.from_json(sys.stdin.read())
    _limit_memory(trial.memory_limit_bytes)
    sys.stdout.write(json.dumps(run_trial(trial)) + "\n")


if __name__ == "__main__":
    main()
