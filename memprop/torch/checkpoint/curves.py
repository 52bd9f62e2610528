"""Choices in order, from the least memory to the least cost, each gone through when asked for."""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TypeAlias

from memprop.schedules.optimal import PlansOnDemand
from memprop.torch.checkpoint.as_chain import StepChain
from memprop.torch.checkpoint.choices import choice_of
from memprop.torch.checkpoint.host import LOADED
from memprop.torch.checkpoint.offloading import offloadable
from memprop.torch.checkpoint.rehearsal import Outcome, Rehearsal
from memprop.torch.checkpoint.run_through import Choice
from memprop.torch.checkpoint.values import Path

Unit: TypeAlias = tuple[int, ...]
"""Calls that run again together."""
Measure: TypeAlias = Callable[[Outcome], int]
"""The bytes that are held against a budget."""
_BESIDE: Final = 6
"""The step may need a little more or less than its chain says, so plans near the best are tried."""
_LEVELS: Final = 400
"""Memory levels of a chain: what a plan really comes to is worked out in any case."""


def peak(outcome: Outcome) -> int:
    """The most that is live in the step."""
    return outcome.peak


@dataclass(frozen=True)
class Candidate:
    """A choice and what it comes to."""

    choice: Choice
    outcome: Outcome


def gone_through(step: Rehearsal, choice: Choice) -> Candidate:
    """A choice with what it comes to, without calls that run for nobody."""
    choice = step.possible(choice)
    outcome = step.of(choice)
    asked = {call: path for call, path in choice.items() if outcome.runs.get(call)}
    left = (call for call in choice if call not in asked)
    values = (step.seen.values[value] for call in left for value in step.seen.calls[call].made)
    if any(value.saves for value in values):  # by nodes that never ask for it: so it is kept
        outcome = step.of(asked)
    return Candidate(asked, outcome)


class Curve(ABC):
    """Choices from the least memory to the least cost, each gone through when it is asked for."""

    def __init__(self, step: Rehearsal) -> None:
        self._step = step
        self._known: dict[int, Candidate] = {}

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def _choice(self, place: int) -> Choice:
        """One of them, for the first forward pass."""

    def some(self, most: int) -> Iterator[Candidate]:
        """So many of them, evenly spread, or all."""
        last = len(self) - 1
        every = range(last + 1)
        places = {round(part * last / most) for part in range(most + 1)} if last > most else every
        return map(self._at, sorted(places))

    def near(self, room: int, measure: Measure) -> Iterator[Candidate]:
        """Those beside the place at which they begin to exceed ``room`` bytes.

        From those that need the most memory down, up to the first that does not exceed.
        """
        first, last = self._least(measure), len(self)

        def exceeds(place: int) -> bool:
            return measure(self._at(place).outcome) > room

        near = bisect_left(range(last), True, lo=first, key=exceeds)
        for place in reversed(range(max(near - _BESIDE, first), min(near + _BESIDE, last))):
            yield self._at(place)
            if not exceeds(place):
                break

    def _least(self, _measure: Measure) -> int:
        """The place from which on bytes rise."""
        return 0

    def _at(self, place: int) -> Candidate:
        if place not in self._known:
            choice = self._step.in_all_passes(self._choice(place))
            self._known[place] = gone_through(self._step, choice)
        return self._known[place]


class OfChain(Curve):
    """The plans of one chain."""

    def __init__(self, chain: StepChain) -> None:
        super().__init__(chain.step)
        self._chain = chain
        self._plans = PlansOnDemand(chain.chain, _LEVELS)

    def __len__(self) -> int:
        return len(self._plans)

    def _choice(self, place: int) -> Choice:
        return choice_of(self._plans[place], self._chain)


class Graded(Curve):
    """Less and less of the whole pass, each call by itself: last what is worth the most."""

    def __init__(self, step: Rehearsal, ways: Sequence[Sequence[Unit]]) -> None:
        super().__init__(step)
        self._units = [unit for way in ways for unit in way]
        self._ends = list(accumulate(map(len, ways), initial=0))

    def __len__(self) -> int:
        return len(self._units) + 1

    def _choice(self, place: int) -> Choice:
        chosen = self._units[: len(self._units) - place]
        return dict.fromkeys((call for unit in chosen for call in unit), ())

    def _least(self, measure: Measure) -> int:
        """Before it so much runs again at once that there is more of it, not less."""
        places = (len(self._units) - end for end in self._ends)
        return min(places, key=lambda place: measure(self._at(place).outcome))


class Offloading(Curve):
    """Less and less of what a choice keeps waits on the host.

    The earliest results wait for the longest time, so they go first.

    Args:
        step: the step.
        choice: what runs again.
    """

    def __init__(self, step: Rehearsal, choice: Choice) -> None:
        super().__init__(step)
        self._again = choice
        self._calls = offloadable(step, gone_through(step, choice).outcome.kept)

    def __len__(self) -> int:
        return len(self._calls) + 1

    def _choice(self, place: int) -> Choice:
        brought = self._calls[: len(self._calls) - place]
        return {**self._again, **dict.fromkeys(brought, LOADED)}


def cheaper_than_copies(step: Rehearsal, ways: Sequence[Sequence[Unit]]) -> Choice:
    """What takes less time to compute again than to copy to the host and back.

    Args:
        step: the step.
        ways: units in the order in which they are worth running again, a list for each way.
    """
    again: dict[int, Path] = {}
    before = gone_through(step, again).outcome
    for way in ways:
        more = {**again, **dict.fromkeys((call for unit in way for call in unit), ())}
        after = gone_through(step, step.in_all_passes(more)).outcome
        saved = before.saved_bytes - after.saved_bytes
        if after.cost - before.cost > 2 * step.copying * saved:
            break
        again, before = more, after
    return step.in_all_passes(again)
