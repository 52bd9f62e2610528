"""The memory that a trial will need and the memory that is free: compared before anything runs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import psutil

from memprop.data import Dataset
from memprop.engine.step import predicted_trace
from memprop.errors import MempropError
from memprop.graph.losses import LOSSES
from memprop.machine.cgroup import memory_allowance
from memprop.schedules.budget import BudgetFraction
from memprop.schedules.budgeted import BUDGET
from memprop.schedules.names import strategy_named
from memprop.sweep.measurement import Measurement
from memprop.sweep.model import model_of, step_options
from memprop.sweep.plan import Trial
from memprop.units import format_bytes


class Shortage(NamedTuple):
    """A trial that is predicted to run out of memory.

    Attributes:
        trial: the trial.
        peak: of its step, in bytes; of a budget at most.
        needs: bytes that it will take, the samples that the step is called with included.
        room: bytes that there are.
        limit: whether that is the specification's limit, or what is free on this machine.
    """

    trial: Trial
    peak: int
    needs: int
    room: int
    limit: bool

    def measurement(self) -> Measurement:
        """What comes of the trial if it is left out."""
        return Measurement(status="skipped", message=str(self), predicted_peak=self.peak)

    def __str__(self) -> str:
        what = "the memory limit of" if self.limit else "what is free here,"
        room = format_bytes(self.room)
        return f"predicted to take {format_bytes(self.needs)}, more than {what} {room}"


def shortages(trials: Sequence[Trial], data: Dataset) -> list[Shortage]:
    """Those of ``trials`` that will run out of memory here."""
    free = free_bytes()
    found = []
    for trial in trials:
        peak, limit = predicted_peak(trial, data), trial.memory_limit_bytes
        needs = 0 if peak is None else peak + _given_bytes(trial, data)
        room = free if limit is None else min(free, limit)
        if peak is not None and needs > room:
            found.append(Shortage(trial, peak, needs, room, room == limit))
    return found


def predicted_peak(trial: Trial, data: Dataset) -> int | None:
    """The peak of a trial's step.

    A budget is taken by its word, for planning takes time. ``None`` for what cannot be run at all.
    """
    strategy = strategy_named(trial.schedule)
    planned = trial.mode == "train" and strategy.strategy is BUDGET
    options = step_options(trial)
    if planned:
        options = replace(options, schedule="lean")
    try:
        model = model_of(trial, data.features, data.classes)
        peak = predicted_trace(model, trial.batch, options).peak
    except (MempropError, MemoryError):
        return None
    if planned:
        budget = strategy.argument
        return min(peak, budget.of(peak) if isinstance(budget, BudgetFraction) else budget or peak)
    return peak


def _given_bytes(trial: Trial, data: Dataset) -> int:
    """Bytes of x and y as the step is called with them; it copies them."""
    size = np.dtype(trial.dtype).itemsize
    labels = 0
    if trial.mode == "train":
        labels = 8 if LOSSES[trial.loss].labels else data.classes * size
    return trial.batch * (data.features * size + labels)


def free_bytes() -> int:
    """Memory that can be had on this machine now, or within the limit of this container."""
    free = psutil.virtual_memory().available
    allowance = memory_allowance()
    return free if allowance is None else min(free, allowance.room_bytes)
