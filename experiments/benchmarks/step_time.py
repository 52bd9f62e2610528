"""The time of a training step against the limit of matrix products, PyTorch and JAX."""

import sys
from dataclasses import dataclass
from typing import Final

import pandas as pd

from experiments.benchmarks.contest import Contest
from experiments.benchmarks.effort import Effort, Shape, arguments, cells, columns
from experiments.benchmarks.lineup import ENGINE, LIMIT, PEERS, Contender, lineup
from experiments.benchmarks.outcome import Outcome, Spread, best, ratio
from experiments.benchmarks.section import Section, Verdict, at_least, at_most
from memprop.units import format_seconds

GOAL: Final = 0.93
WIDE: Final = 512
"""From this width on, matrix products should be nearly all that takes time."""

TEXT: Final = """\
A step is forward, loss, backward and the gradients of all parameters, in float32,
relu with bias, cross entropy, 64 inputs and 10 classes, then the update if there is one. memprop
runs `lean` from the arena without recording, and updates in backward, so that it leaves no
gradients. PyTorch updates with its fused optimizers; JAX is given its parameters and state to write
over, and leaves no gradients. The limit is NumPy's products of the same shapes,
back to back, into arrays made beforehand. Each is shown at the better of its numbers of threads
(in brackets), as the median of the rounds with quartiles; every turn begins with a step that is not
counted. Ratios are medians over the rounds; of memprop, the share of the limit is the larger the
better, the time to that of a peer the smaller.
"""


@dataclass(frozen=True)
class Race:
    """All that ran one step, and what they reached."""

    shape: Shape
    update: str | None
    outcomes: list[Outcome]

    def best(self, name: str) -> Outcome | None:
        """The outcome of a contender at its best number of threads."""
        return best(name, self.outcomes)

    def share_of_limit(self) -> Spread | None:
        """The time of the matrix products alone to that of memprop's step."""
        return ratio(self.best(LIMIT), self.best(ENGINE))

    def to_peer(self, name: str) -> Spread | None:
        """The time of memprop's step to a peer's."""
        return ratio(self.best(ENGINE), self.best(name))


def run(effort: Effort, contenders: list[Contender] | None = None) -> Section:
    """Race all contenders at every shape and update of ``effort``."""
    races = []
    with Contest(lineup() if contenders is None else contenders) as contest:
        for update, shape in effort.steps():
            print(f"step_time: {shape}, update {update}", file=sys.stderr)
            outcomes = contest.race(arguments(shape, update), effort.rounds, effort.seconds)
            races.append(Race(shape, update, outcomes))
    return section(races)


def section(races: list[Race]) -> Section:
    """The report of races."""
    return Section(
        title="Time of a step",
        text=TEXT,
        numbers=pd.DataFrame([_numbers(race, o) for race in races for o in race.outcomes]),
        cells=pd.DataFrame([_cells(race) for race in races]),
        verdicts=verdicts(races),
    )


def verdicts(races: list[Race]) -> tuple[Verdict, ...]:
    """Whether the step is near the limit where layers are wide, and no slower than the peers."""
    wide = [race for race in races if race.shape.width >= WIDE and race.update is None]
    shares = [_median(race.share_of_limit()) for race in wide]
    limit = f"at least {GOAL} of the limit from width {WIDE} on, without an update"
    peers = ((name, [_median(race.to_peer(name)) for race in races]) for name in PEERS)
    return (
        at_least(limit, GOAL, shares, "{:.2f}"),
        *(at_most(f"no slower than {name}", 1.0, found, "{:.2f} times") for name, found in peers),
    )


def _median(found: Spread | None) -> float | None:
    return None if found is None else found.median


def _numbers(race: Race, outcome: Outcome) -> dict[str, object]:
    step = columns(race.shape, race.update)
    who = {"contender": outcome.contender.name, "threads": outcome.contender.threads}
    found = {"rounds": len(outcome.rounds), "note": outcome.note}
    if outcome.rounds:
        times = outcome.spread
        found |= {"seconds": times.median, "low": times.low, "high": times.high}
    return {**step, **who, **found}


def _cells(race: Race) -> dict[str, str]:
    names = dict.fromkeys(outcome.contender.name for outcome in race.outcomes)
    row = cells(race.shape, race.update) | {name: _time(race, name) for name in names}
    if LIMIT in names:
        row["of the limit"] = _ratio(race.share_of_limit())
    return row | {f"to {name}": _ratio(race.to_peer(name)) for name in PEERS if name in names}


def _time(race: Race, name: str) -> str:
    found = race.best(name)
    if found is None:
        return next(o.note for o in race.outcomes if o.contender.name == name)
    return f"{found.spread.shown(format_seconds)} [{found.contender.threads}]"


def _ratio(found: Spread | None) -> str:
    return "-" if found is None else found.shown("{:.2f}".format)
