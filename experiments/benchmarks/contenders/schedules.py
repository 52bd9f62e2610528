"""The engine's step under several schedules, in one process, in turns; and the times predicted.

The time of a schedule is predicted as the sum over what it computes, each operator as often as it
runs, of the median time that the operator takes in recorded steps of ``lean``, by their Trace.
"""

import statistics
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

import memprop as mp
from experiments.benchmarks.contenders.problem import samples, widths
from experiments.benchmarks.contenders.serve import serve, take_turns


@dataclass
class Schedules:
    """Prepared steps by schedule, ``lean`` first, and the samples they run on."""

    steps: dict[str, mp.Step]
    x: np.ndarray
    y: np.ndarray


def prepare(depth: int, width: int, batch: int, shares: list[float]) -> Schedules:
    """Steps of lean, sqrt, and budgets at ``shares`` of the way from the least to lean's peak."""
    x, y = samples(batch)
    model = mp.MLP(widths(depth, width))
    names = ["lean", "sqrt", *budgets(model, batch, shares)]
    prepared = Schedules({name: mp.Step(model, batch, name) for name in names}, x, y)
    turns(prepared, 0)
    return prepared


def budgets(model: mp.MLP, batch: int, shares: list[float]) -> list[str]:
    """Names of budgets between the smallest that can be kept to and what lean needs."""
    lean = mp.schedule(model, batch=batch, strategy="lean").peak
    try:
        mp.schedule(model, batch=batch, strategy="budget:1")
    except mp.InfeasibleBudget as error:
        least = error.smallest
        return [f"budget:{round(least + share * (lean - least))}" for share in shares]
    raise AssertionError("a budget of one byte was kept to")


def turns(schedules: Schedules, seconds: float) -> dict[str, float]:
    """The median time of a step under each schedule."""
    x, y = schedules.x, schedules.y
    steps = {name: lambda step=step: step(x, y) for name, step in schedules.steps.items()}
    return take_turns(steps, seconds)


def predicted(schedules: Schedules, runs: int) -> dict[str, float]:
    """The times of a step under each schedule to lean's, by the times of lean's operators."""
    lean = schedules.steps["lean"]
    traces = []
    for _ in range(runs):
        lean(schedules.x, schedules.y)
        traces.append(lean.trace)
    seconds = operator_seconds(traces)
    sums = {n: step_seconds(step.schedule, seconds) for n, step in schedules.steps.items()}
    return {name: total / sums["lean"] for name, total in sums.items()}


def step_seconds(schedule: mp.Schedule, seconds: dict[str, float]) -> float:
    """The time of all that ``schedule`` computes, given that of each operator."""
    return sum(seconds[action.operator] for action in schedule.computes())


def operator_seconds(traces: list[mp.Trace]) -> dict[str, float]:
    """The median time of each operator, from its first event to its last."""
    taken: dict[str, list[float]] = defaultdict(list)
    for trace in traces:
        ran = trace.events.operator >= 0
        operators, at = trace.events.operator[ran], trace.events.nanoseconds[ran]
        order = np.argsort(operators, kind="stable")
        found, starts = np.unique(operators[order], return_index=True)
        spans = np.maximum.reduceat(at[order], starts) - np.minimum.reduceat(at[order], starts)
        for operator, span in zip(found, spans, strict=True):
            taken[trace.operators[operator].name].append(span / 1e9)
    return {name: statistics.median(spans) for name, spans in taken.items()}


def peaks(schedules: Schedules) -> dict[str, int]:
    """The peak of each schedule in bytes."""
    return {name: step.schedule.peak for name, step in schedules.steps.items()}


if __name__ == "__main__":
    serve(prepare, turns=turns, predicted=predicted, peaks=peaks)
