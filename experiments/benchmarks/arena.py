"""The arena: its size against the largest bytes live in it, and the pages a second step touches."""

import sys
from dataclasses import dataclass
from typing import Final

import pandas as pd

from experiments.benchmarks.contestant import Contestant
from experiments.benchmarks.effort import Effort, Shape, arguments, cells, columns
from experiments.benchmarks.lineup import own
from experiments.benchmarks.section import Section, Verdict, at_most
from memprop.units import format_bytes

SCHEDULES: Final = ("lean", "textbook", "sqrt")
FEW_FAULTS: Final = 16
"""A step makes some Python objects, which now and then want a page."""

TEXT: Final = """\
No arena can be smaller than the largest bytes that live at one time, parameters and
state left out, which lie elsewhere: the lower bound, taken from the simulated ledger. *Page
faults* (`ru_minflt`) are those of a second step, in which the arena should be there already.
"""


@dataclass(frozen=True)
class Placed:
    """The arena of one step in bytes, its lower bound, and page faults of a second run."""

    shape: Shape
    update: str | None
    schedule: str
    arena_bytes: int
    live_bytes: int
    faults: int

    @property
    def excess(self) -> float:
        """The arena to its lower bound."""
        return self.arena_bytes / self.live_bytes


def run(effort: Effort) -> Section:
    """Measure every step of ``effort`` under several schedules."""
    found = []
    with Contestant(own("arena")) as contestant:
        for update, shape in effort.steps():
            print(f"arena: {shape}, update {update}", file=sys.stderr)
            for schedule in SCHEDULES:
                contestant.ask("prepare", **arguments(shape, update), schedule=schedule)
                found.append(Placed(shape, update, schedule, **contestant.ask("found")))
    return section(found)


def section(found: list[Placed]) -> Section:
    """The report of what was found."""
    return Section(
        title="The arena",
        text=TEXT,
        numbers=pd.DataFrame([_numbers(each) for each in found]),
        cells=pd.DataFrame([_cells(each) for each in found]),
        verdicts=verdicts(found),
    )


def verdicts(found: list[Placed]) -> tuple[Verdict, ...]:
    """Whether arenas are tight, and touched once."""
    excess = [each.excess for each in found]
    faults = [each.faults for each in found]
    return (
        at_most("the arena is within 2 % of its lower bound", 1.02, excess, "{:.4f} times"),
        at_most(f"a second step faults at most {FEW_FAULTS} pages", FEW_FAULTS, faults, "{:.0f}"),
    )


def _numbers(each: Placed) -> dict[str, object]:
    return {
        **columns(each.shape, each.update),
        "schedule": each.schedule,
        "arena_bytes": each.arena_bytes,
        "live_bytes": each.live_bytes,
        "page_faults": each.faults,
    }


def _cells(each: Placed) -> dict[str, str]:
    return {
        **cells(each.shape, each.update),
        "schedule": each.schedule,
        "arena": format_bytes(each.arena_bytes),
        "lower bound": format_bytes(each.live_bytes),
        "arena to bound": f"{each.excess:.4f}",
        "page faults": str(each.faults),
    }
