"""What the ledger costs: a step that records against the same step with recording off."""

import sys
from dataclasses import dataclass
from typing import Final

import pandas as pd

from experiments.benchmarks.contestant import Contestant
from experiments.benchmarks.effort import SMALLEST, Effort, Shape
from experiments.benchmarks.lineup import own, thread_counts
from experiments.benchmarks.outcome import Spread, spread
from experiments.benchmarks.section import Section, Verdict, at_most
from memprop.units import format_seconds

FROM: Final = 4 * 512 * 256
"""Depth times width times batch from which on the ledger should not be noticed."""

TEXT: Final = """\
`mp.Step` with `record=True` against the same with `record=False`, `lean`, from the
arena, in one process, run one after the other. Each round prepares a new pair, for where an arena
happens to lie can cost more than the ledger. The ratio is the median over the rounds, with
quartiles.
"""


@dataclass(frozen=True)
class Recorded:
    """The rounds at one shape: seconds of a step with recording off and on."""

    shape: Shape
    threads: int
    off: tuple[float, ...]
    on: tuple[float, ...]

    @property
    def ratio(self) -> Spread:
        """How many times as long a step takes with recording on."""
        return spread([on / off for on, off in zip(self.on, self.off, strict=True)])


def run(effort: Effort) -> Section:
    """Measure every shape on every number of threads."""
    found = []
    for threads in thread_counts():
        with Contestant(own("recording", threads)) as contestant:
            for shape in effort.shapes:
                print(f"ledger: {shape}, threads {threads}", file=sys.stderr)
                found.append(_measured(contestant, shape, threads, effort))
    return section(found)


def _measured(contestant: Contestant, shape: Shape, threads: int, effort: Effort) -> Recorded:
    rounds = []
    for number in range(effort.rounds):
        contestant.ask("prepare", **shape.asked(), first=number % 2 == 0)
        rounds.append(contestant.ask("turns", seconds=2 * effort.seconds))
    off, on = (tuple(taken[name] for taken in rounds) for name in ("off", "on"))
    return Recorded(shape, threads, off, on)


def section(found: list[Recorded]) -> Section:
    """The report of what was found."""
    return Section(
        title="The ledger",
        text=TEXT,
        numbers=pd.DataFrame([_numbers(each) for each in found]),
        cells=pd.DataFrame([_cells(each) for each in found]),
        verdicts=verdicts(found),
    )


def verdicts(found: list[Recorded]) -> tuple[Verdict, ...]:
    """Whether the ledger is cheap enough, at small steps and at large ones."""
    large = [each.ratio.median for each in found if _size(each.shape) >= FROM]
    small = [each.ratio.median for each in found if each.shape == SMALLEST]
    return (
        at_most("recording takes at most 1.01 from 4 x 512 x 256 on", 1.01, large, "{:.3f}"),
        at_most(f"recording takes at most 1.10 at {SMALLEST}", 1.10, small, "{:.3f}"),
    )


def _size(shape: Shape) -> int:
    return shape.depth * shape.width * shape.batch


def _numbers(each: Recorded) -> dict[str, object]:
    return {
        **each.shape.asked(),
        "threads": each.threads,
        "off_seconds": spread(each.off).median,
        "on_seconds": spread(each.on).median,
        "ratio": each.ratio.median,
        "low": each.ratio.low,
        "high": each.ratio.high,
        "rounds": len(each.on),
    }


def _cells(each: Recorded) -> dict[str, str]:
    return {
        **each.shape.cell(),
        "threads": str(each.threads),
        "recording off": spread(each.off).shown(format_seconds),
        "recording on": spread(each.on).shown(format_seconds),
        "on to off": each.ratio.shown("{:.3f}".format),
    }
