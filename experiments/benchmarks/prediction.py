"""How long predictions take, and how their time grows with depth."""

import sys
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from experiments.benchmarks.contestant import Contestant
from experiments.benchmarks.effort import Effort
from experiments.benchmarks.lineup import own
from experiments.benchmarks.outcome import Spread, spread
from experiments.benchmarks.section import Section, Verdict, at_most
from memprop.units import format_seconds

WIDTH: Final = 64
DEEP: Final = 1000
MANY: Final = 10**6

TEXT: Final = """\
`mp.simulate` of one step of `lean`, batch 256, and `mp.peak_bytes` over batches of
1, 2, 3 and so on, of models of width 64: medians of the rounds with quartiles. Every run has a new
model, so the time of making its graph and schedule is in it. *First* is the first call in a
process.
"""


@dataclass(frozen=True)
class Predicted:
    """Seconds of a call at one depth: the first in a process, and later ones, a round each."""

    depth: int
    call: str
    first: float
    rounds: tuple[float, ...]

    @property
    def seconds(self) -> Spread:
        """The median round, and its quartiles."""
        return spread(self.rounds)


def run(effort: Effort) -> Section:
    """Time both calls at the depths of ``effort``."""
    simulated = [_timed(d, "simulate", effort.rounds, runs=1) for d in effort.depths]
    depth = min(DEEP, max(effort.depths))
    peaks = _timed(depth, "peaks", min(effort.rounds, 3), sizes=effort.batch_sizes)
    return section(simulated, peaks, effort.batch_sizes)


def _timed(depth: int, verb: str, rounds: int, **arguments: int) -> Predicted:
    print(f"prediction: {verb}, depth {depth}", file=sys.stderr)
    with Contestant(own("prediction")) as contestant:
        contestant.ask("prepare", depth=depth, width=WIDTH)
        first, *rest = [contestant.ask(verb, **arguments) for _ in range(rounds + 1)]
    return Predicted(depth, verb, first, tuple(rest))


def slope(simulated: list[Predicted]) -> float:
    """The exponent p of the time ~ depth^p: the least-squares line through the logarithms."""
    depths = np.log([each.depth for each in simulated])
    seconds = np.log([each.seconds.median for each in simulated])
    return float(np.polyfit(depths, seconds, 1)[0])


def section(simulated: list[Predicted], peaks: Predicted, sizes: int) -> Section:
    """The report of what was timed."""
    calls = [(each, "mp.simulate") for each in simulated]
    calls.append((peaks, f"mp.peak_bytes, {sizes:,} batch sizes"))
    return Section(
        title="Prediction",
        text=f"{TEXT}\nThe time of `mp.simulate` grows as depth to the {slope(simulated):.2f}.\n",
        numbers=pd.DataFrame([_numbers(each, call) for each, call in calls]),
        cells=pd.DataFrame([_cells(each, call) for each, call in calls]),
        verdicts=verdicts(simulated, peaks, sizes),
    )


def verdicts(simulated: list[Predicted], peaks: Predicted, sizes: int) -> tuple[Verdict, ...]:
    """Whether predictions are fast enough, and their time linear in depth."""
    deep = [1e3 * each.seconds.median for each in simulated if each.depth == DEEP]
    many = [peaks.seconds.median] if (peaks.depth, sizes) == (DEEP, MANY) else []
    exponent = [slope(simulated)]
    return (
        at_most(f"simulate of {DEEP:,} layers within 50 ms", 50, deep, "{:.0f} ms"),
        at_most(f"peak_bytes of {MANY:,} batch sizes within 1 s", 1.0, many, "{:.2f} s"),
        at_most("growth with depth at most linear (exponent up to 1.1)", 1.1, exponent, "{:.2f}"),
    )


def _numbers(each: Predicted, call: str) -> dict[str, object]:
    return {
        "call": call,
        "depth": each.depth,
        "first_seconds": each.first,
        "seconds": each.seconds.median,
        "low": each.seconds.low,
        "high": each.seconds.high,
    }


def _cells(each: Predicted, call: str) -> dict[str, str]:
    return {
        "call": call,
        "depth": f"{each.depth:,}",
        "first": format_seconds(each.first),
        "later": each.seconds.shown(format_seconds),
    }
