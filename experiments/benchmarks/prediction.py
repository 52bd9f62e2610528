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
1, 2, 3 and so on, of models of width 64: medians of the rounds with quartiles, each round in a
process of its own. *First* is the first call there, which makes the graph and the schedule; *again*
is the same of a further model of that architecture, for which memprop remembers both.
"""


@dataclass(frozen=True)
class Predicted:
    """Seconds of a call at one depth, in each round the first in a process, and one after it."""

    depth: int
    call: str
    firsts: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def first(self) -> Spread:
        """The median first call, and its quartiles."""
        return spread(self.firsts)

    @property
    def again(self) -> Spread:
        """The median call after the first, and its quartiles."""
        return spread(self.seconds)


def run(effort: Effort) -> Section:
    """Time both calls at the depths of ``effort``."""
    simulated = [_timed(d, "simulate", effort.rounds) for d in effort.depths]
    depth = min(DEEP, max(effort.depths))
    peaks = _timed(depth, "peaks", min(effort.rounds, 3), sizes=effort.batch_sizes)
    return section(simulated, peaks, effort.batch_sizes)


def _timed(depth: int, verb: str, rounds: int, **arguments: int) -> Predicted:
    print(f"prediction: {verb}, depth {depth}", file=sys.stderr)
    pairs = [_first_and_again(depth, verb, **arguments) for _ in range(rounds)]
    return Predicted(depth, verb, *zip(*pairs, strict=True))


def _first_and_again(depth: int, verb: str, **arguments: int) -> tuple[float, float]:
    with Contestant(own("prediction")) as contestant:
        contestant.ask("prepare", depth=depth, width=WIDTH)
        return contestant.ask(verb, **arguments), contestant.ask(verb, **arguments)


def slope(simulated: list[Predicted]) -> float:
    """The exponent p of a first call's time ~ depth^p: the line through the logarithms."""
    depths = np.log([each.depth for each in simulated])
    seconds = np.log([each.first.median for each in simulated])
    return float(np.polyfit(depths, seconds, 1)[0])


def section(simulated: list[Predicted], peaks: Predicted, sizes: int) -> Section:
    """The report of what was timed."""
    calls = [(each, "mp.simulate") for each in simulated]
    calls.append((peaks, f"mp.peak_bytes, {sizes:,} batch sizes"))
    growth = f"The time of the first `mp.simulate` grows as depth to the {slope(simulated):.2f}."
    return Section(
        title="Prediction",
        text=f"{TEXT}\n{growth}\n",
        numbers=pd.DataFrame([_numbers(each, call) for each, call in calls]),
        cells=pd.DataFrame([_cells(each, call) for each, call in calls]),
        verdicts=verdicts(simulated, peaks, sizes),
    )


def verdicts(simulated: list[Predicted], peaks: Predicted, sizes: int) -> tuple[Verdict, ...]:
    """Whether predictions are fast enough, and their time linear in depth."""
    deep = [each for each in simulated if each.depth == DEEP]
    first = [1e3 * each.first.median for each in deep]
    again = [1e3 * each.again.median for each in deep]
    many = [peaks.first.median] if (peaks.depth, sizes) == (DEEP, MANY) else []
    exponent = [slope(simulated)]
    within = f"simulate of {DEEP:,} layers within 50 ms"
    return (
        at_most(f"{within}, the first time in a process", 50, first, "{:.0f} ms"),
        at_most(f"{within}, again", 50, again, "{:.0f} ms"),
        at_most(f"peak_bytes of {MANY:,} batch sizes within 1 s", 1.0, many, "{:.2f} s"),
        at_most("growth with depth at most linear (exponent up to 1.1)", 1.1, exponent, "{:.2f}"),
    )


def _numbers(each: Predicted, call: str) -> dict[str, object]:
    return {
        "call": call,
        "depth": each.depth,
        "first_seconds": each.first.median,
        "first_low": each.first.low,
        "first_high": each.first.high,
        "again_seconds": each.again.median,
        "again_low": each.again.low,
        "again_high": each.again.high,
    }


def _cells(each: Predicted, call: str) -> dict[str, str]:
    return {
        "call": call,
        "depth": f"{each.depth:,}",
        "first": each.first.shown(format_seconds),
        "again": each.again.shown(format_seconds),
    }
