"""Whether schedules that recompute slow a step down by as much as predicted."""

import sys
from dataclasses import dataclass
from typing import Final

import pandas as pd

from experiments.benchmarks.contestant import Contestant
from experiments.benchmarks.effort import Effort, Shape
from experiments.benchmarks.lineup import own
from experiments.benchmarks.outcome import Spread, spread
from experiments.benchmarks.section import Section, Verdict, at_most
from memprop.units import format_bytes

SHARES: Final = (0.5, 0.2, 0.05)
"""Budgets, as shares of the way from the least that can be kept to, to what lean needs."""

RECORDED_RUNS: Final = 15
LEAN: Final = "lean"

TEXT: Final = """\
`sqrt`, and the optimum for three byte budgets, against `lean`, which computes nothing
twice: all in one process, in turns, on one thread, from the arena.
*Predicted* is
the ratio of the sums over all operators that each schedule runs, one for every run, of the median
time that the operator takes in recorded steps of `lean`, by their Trace. *Measured* is the median
ratio over the rounds, with quartiles.
"""


@dataclass(frozen=True)
class Slowed:
    """A schedule's step to lean's: as predicted, and as measured in each round."""

    shape: Shape
    schedule: str
    peak_bytes: int
    predicted: float
    rounds: tuple[float, ...]

    @property
    def measured(self) -> Spread:
        """The median ratio over the rounds, and its quartiles."""
        return spread(self.rounds)

    @property
    def off(self) -> float:
        """By what share of itself the prediction misses the measured ratio."""
        return abs(self.measured.median / self.predicted - 1)


def run(effort: Effort) -> Section:
    """Measure every shape of ``effort`` that recomputation is of use for."""
    found = []
    with Contestant(own("schedules")) as contestant:
        for shape in effort.recomputed:
            print(f"recomputation: {shape}", file=sys.stderr)
            found += _measured(contestant, shape, effort)
    return section(found)


def _measured(contestant: Contestant, shape: Shape, effort: Effort) -> list[Slowed]:
    contestant.ask("prepare", **shape.asked(), shares=SHARES)
    peaks = contestant.ask("peaks")
    seconds = len(peaks) * effort.seconds
    rounds = [contestant.ask("turns", seconds=seconds) for _ in range(effort.rounds)]
    predicted = contestant.ask("predicted", runs=RECORDED_RUNS)
    return [
        Slowed(shape, name, peak, predicted[name], tuple(r[name] / r[LEAN] for r in rounds))
        for name, peak in peaks.items()
    ]


def section(found: list[Slowed]) -> Section:
    """The report of what was found."""
    return Section(
        title="Recomputation",
        text=TEXT,
        numbers=pd.DataFrame([_numbers(each) for each in found]),
        cells=pd.DataFrame([_cells(each) for each in found]),
        verdicts=verdicts(found),
    )


def verdicts(found: list[Slowed]) -> tuple[Verdict, ...]:
    """Whether the slow-down is near the predicted one wherever something is recomputed."""
    off = [each.off for each in found if each.schedule != LEAN]
    return (at_most("the slow-down is within 10 % of the predicted one", 0.10, off, "{:.1%} off"),)


def _numbers(each: Slowed) -> dict[str, object]:
    return {
        **each.shape.asked(),
        "schedule": each.schedule,
        "peak_bytes": each.peak_bytes,
        "predicted": each.predicted,
        "measured": each.measured.median,
        "low": each.measured.low,
        "high": each.measured.high,
    }


def _cells(each: Slowed) -> dict[str, str]:
    return {
        **each.shape.cell(),
        "schedule": each.schedule,
        "peak": format_bytes(each.peak_bytes),
        "predicted": f"{each.predicted:.3f}",
        "measured": each.measured.shown("{:.3f}".format),
        "off": f"{each.off:.1%}",
    }
