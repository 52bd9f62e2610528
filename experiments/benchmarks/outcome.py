"""What a contender reached: a number a round, or why there is none."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from experiments.benchmarks.lineup import Contender


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, and the quartiles around it."""

    low: float
    median: float
    high: float

    def shown(self, form: Callable[[float], str]) -> str:
        """As ``median (low-high)``."""
        return f"{form(self.median)} ({form(self.low)}-{form(self.high)})"


def spread(values: Sequence[float]) -> Spread:
    """The median and quartiles of at least one number."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, median, high)


@dataclass(frozen=True)
class Outcome:
    """The rounds of a contender: seconds of a step in each.

    ``note`` says why there are fewer rounds than others have, or none.
    """

    contender: Contender
    rounds: tuple[float, ...] = ()
    note: str = ""

    @property
    def spread(self) -> Spread:
        """The median round and its quartiles."""
        return spread(self.rounds)


def best(name: str, outcomes: Iterable[Outcome]) -> Outcome | None:
    """The fastest of those with that name that ran to the end, whatever its threads."""
    finished = [o for o in outcomes if o.contender.name == name and o.rounds and not o.note]
    return min(finished, key=lambda outcome: outcome.spread.median, default=None)


def ratio(one: Outcome | None, other: Outcome | None) -> Spread | None:
    """How many times as long ``one`` took, by the rounds that both ran; ``None`` if one is none.

    Rounds are compared pairwise: what slowed the machine down in one slowed down both.
    """
    if one is None or other is None:
        return None
    return spread([a / b for a, b in zip(one.rounds, other.rounds, strict=True)])
