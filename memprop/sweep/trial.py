"""One trial, alone in a process: a request as JSON in, measurements as lines of JSON on stdout.

In this order: the prediction, which costs nothing; the ledger of a real step; each witness, which
watches steps of its own; the times, of steps that nobody watches. Each of these runs in a process
of its own, forked when the model is made and the step is planned, so none sees what another did.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.ma
import scipy.linalg.blas
import scipy.special  # noqa: F401 - gelu does

from memprop.data import load_data
from memprop.engine.step import Step, predicted_trace
from memprop.models.mlp import MLP
from memprop.probes import WITNESSES
from memprop.sweep.batches import arrays_for
from memprop.sweep.forks import run_in_child
from memprop.sweep.imports import import_files
from memprop.sweep.limit import MemoryLimit
from memprop.sweep.measurement import Measurement
from memprop.sweep.model import model_of, step_options
from memprop.sweep.outcome import measurement_of
from memprop.sweep.plan import LEDGER, TIMES, Trial

for _witness in WITNESSES.values():
    _witness.load()  # before a trial begins, for that takes longer than most steps


def main(request: str) -> None:
    """Run parts of a trial: ``{"trial": its JSON, "parts": [...]}``."""
    asked = json.loads(request)
    trial, parts = Trial.from_json(asked["trial"]), asked["parts"]
    import_files(trial.imports)
    for name in trial.witnesses:
        WITNESSES[name].load()
    data = load_data(trial.data_source)
    limit = MemoryLimit(trial.memory_limit_bytes)
    try:
        model = model_of(trial, data.features, data.classes)
        predicted = predicted_trace(model, trial.batch, step_options(trial))
        known = Measurement.of_step(predicted)
        _write(known)
        arrays = arrays_for(model, data, trial.batch, trial.mode, trial.seed)
        prepared = _Prepared(trial, model, arrays, predicted.persistent_bytes)
        _ = model.parameters  # made here, for all parts alike
    except MemoryError as error:
        _write(_out_of_memory(error))
        return
    for part in parts:
        ended = run_in_child(partial(_measure, part, prepared, limit, limit.taken()))
        found = measurement_of(ended)
        if found.status != "ok":
            _write(known.updated(replace(found, message=f"{part}: {found.message}")))
            return
        known = known.updated(found)
        _write(known)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What the parts of a trial share.

    Attributes:
        trial: what is run.
        model: its model, with parameters.
        arrays: what a step is called with.
        persistent_bytes: of parameters and optimizer state.
    """

    trial: Trial
    model: MLP
    arrays: tuple[np.ndarray, ...]
    persistent_bytes: int

    def step(self, allocator: str, *, record: bool = True) -> Step:
        """A step that can be run."""
        options = replace(step_options(self.trial), allocator=allocator)
        return Step(self.model, self.trial.batch, record=record, **options.arguments())


def _measure(part: str, prepared: _Prepared, limit: MemoryLimit, taken: int) -> None:
    """Run one part and write what it measured."""
    parts: dict[str, Callable[[_Prepared], Measurement]] = {LEDGER: _ledger, TIMES: _times}
    measure = parts.get(part) or partial(_watched, name=part)
    try:
        limit.renew(taken)
        _write(measure(prepared))
    except MemoryError as error:
        _write(_out_of_memory(error))


def _ledger(prepared: _Prepared) -> Measurement:
    """What the engine added up while a real step ran."""
    step = prepared.step("heap")
    step(*prepared.arrays)
    return Measurement.of_step(step.trace)


def _watched(prepared: _Prepared, name: str) -> Measurement:
    """What one witness saw."""
    step = prepared.step("heap")

    def once() -> None:
        step(*prepared.arrays)
        step.release()  # what a step leaves behind is part of its own peak, not of the next one's

    growth = WITNESSES[name].measure(once)
    # Parameters and optimizer state are there before the step: no witness sees them grow.
    peak = None if growth is None else growth + prepared.persistent_bytes
    return Measurement(status="ok", witness_peaks={name: peak})


def _times(prepared: _Prepared) -> Measurement:
    """The median over the repeats of the mean time of a step, in the arena that training uses."""
    step, trial = prepared.step("arena", record=False), prepared.trial
    step(*prepared.arrays)
    means = []
    for _ in range(trial.repeats):
        begin = time.perf_counter()
        for _ in range(trial.steps):
            step(*prepared.arrays)
        means.append((time.perf_counter() - begin) / trial.steps)
    return Measurement(status="ok", step_seconds=statistics.median(means))


def _out_of_memory(error: MemoryError) -> Measurement:
    return Measurement(status="oom", message=f"out of memory: {error}".rstrip(": "))


def _write(measurement: Measurement) -> None:
    sys.stdout.write(measurement.to_json() + "\n")
    sys.stdout.flush()  # what is known stays known, whatever comes next
