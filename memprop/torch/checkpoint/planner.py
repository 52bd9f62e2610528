"""Which calls run again, for a budget: candidates from the planner of chains, then made better."""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, combinations
from typing import Final, TypeAlias

from memprop.schedules.optimal import PlansOnDemand
from memprop.torch.checkpoint.as_chain import StepChain, as_chain
from memprop.torch.checkpoint.choices import choice_of
from memprop.torch.checkpoint.graded import graded_units
from memprop.torch.checkpoint.rehearsal import Choice, Outcome, Rehearsal
from memprop.torch.checkpoint.stages import Cutting
from memprop.traces.trace import Trace

EVERY_CHOICE: Final = 12
"""Up to so many units of calls, every choice among them is tried."""
_CUTTINGS: Final = (
    Cutting(0.34, at_dear=True),
    Cutting(0.34, at_dear=False),
    Cutting(1, at_dear=True),
)
"""Large stages leave more to choose within them, small ones more between them."""
_BESIDE: Final = 6
"""The step may need a little more or less than its chain says, so plans near the best are tried."""
_LEVELS: Final = 400
"""Memory levels of a chain: what a plan really comes to is worked out in any case."""
_TRIES: Final = 60
"""How often one unit is kept instead and all gone through again, at most."""


Measure: TypeAlias = Callable[[Outcome], int]
"""The bytes that are held against a budget."""


def peak(outcome: Outcome) -> int:
    """The most that is live in the step."""
    return outcome.peak


@dataclass(frozen=True)
class Candidate:
    """A choice and what it comes to."""

    choice: Choice
    outcome: Outcome


class Candidates:
    """The choices that are worth their memory; each is gone through when it is asked for.

    Args:
        step: the step.
        trace: of the step.
        groups: whether calls may run again in groups, of whole stages.
    """

    def __init__(self, step: Rehearsal, trace: Trace, *, groups: bool = True) -> None:
        self._step = step
        self._few = worth_it(
            gone_through(step, step.in_all_passes(choice)) for choice in _few_choices(step)
        )
        cuttings = _CUTTINGS if groups else ()
        chains = (as_chain(step, trace, cutting) for cutting in cuttings)
        found = {tuple(chain.stages): chain for chain in chains if chain is not None}
        self._curves = [_Graded(step), *map(_OfChain, found.values())]

    def every(self, most: int = 10**9) -> list[Candidate]:
        """Those that are worth their memory, by rising peak.

        Args:
            most: how many plans of each chain are gone through, about.
        """
        return worth_it([*self._few, *(one for c in self._curves for one in c.some(most))])

    def within(self, room: int, measure: Measure = peak) -> Candidate | None:
        """The cheapest that is within ``room`` bytes by a measure; ``None`` if none is."""
        found = [*self._few, *(one for c in self._curves for one in c.near(room, measure))]
        fitting = [one for one in found if measure(one.outcome) <= room]
        if not fitting:
            return None
        cheapest = min(fitting, key=lambda one: one.outcome.cost)
        return improved(self._step, cheapest, room, measure=measure)

    @property
    def least(self) -> Candidate:
        """That of the lowest peak, as far as is known."""
        found = [*self._few, *(one for c in self._curves for one in c.near(0, peak))]
        return min(found, key=lambda one: (one.outcome.peak, one.outcome.cost))


class _Curve(ABC):
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
        """Those beside the place at which they begin to exceed ``room`` bytes."""
        first, last = self._least(measure), len(self)

        def exceeds(place: int) -> bool:
            return measure(self._at(place).outcome) > room

        near = bisect_left(range(last), True, lo=first, key=exceeds)
        return map(self._at, range(max(near - _BESIDE, first), min(near + _BESIDE, last)))

    def _least(self, _measure: Measure) -> int:
        """The place from which on bytes rise."""
        return 0

    def _at(self, place: int) -> Candidate:
        if place not in self._known:
            choice = self._step.in_all_passes(self._choice(place))
            self._known[place] = gone_through(self._step, choice)
        return self._known[place]


class _OfChain(_Curve):
    """The plans of one chain."""

    def __init__(self, chain: StepChain) -> None:
        super().__init__(chain.step)
        self._chain = chain
        self._plans = PlansOnDemand(chain.chain, _LEVELS)

    def __len__(self) -> int:
        return len(self._plans)

    def _choice(self, place: int) -> Choice:
        return choice_of(self._plans[place], self._chain)


class _Graded(_Curve):
    """Less and less of the whole pass, each call by itself: last what is worth the most."""

    def __init__(self, step: Rehearsal) -> None:
        super().__init__(step)
        ways = graded_units(step)
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


def worth_it(found: Iterable[Candidate]) -> list[Candidate]:
    """Those that cost less than every other with as low a peak, by rising peak."""
    kept: list[Candidate] = []
    for one in sorted(found, key=lambda c: (c.outcome.peak, c.outcome.cost, len(c.choice))):
        if not kept or one.outcome.cost < kept[-1].outcome.cost:
            kept.append(one)
    return kept


def _few_choices(step: Rehearsal) -> Iterator[Choice]:
    """All choices of a small module; else the one that keeps everything."""
    yield {}
    units = list(dict.fromkeys(_worth_dropping(step)))
    if len(units) > EVERY_CHOICE:
        return
    for count in range(1, len(units) + 1):
        for chosen in combinations(units, count):
            yield dict.fromkeys((call for unit in chosen for call in unit), ())


def _worth_dropping(step: Rehearsal) -> Iterator[tuple[int, ...]]:
    """The units that can run again, and of whose values something is saved or read later."""
    asked = set(step.of(step.everything()).runs)
    for call in step.seen.calls:
        if call.forward == 0 and call.number in asked:
            yield step.unit_of[call.number]


def improved(
    step: Rehearsal, given: Candidate, room: int, tries: int = _TRIES, measure: Measure = peak
) -> Candidate:
    """A candidate within ``room`` bytes that costs less, or the same one.

    The planner of chains decides for all of a stage, and keeps what a stage hands on. Here what is
    cheap for its bytes is computed again as well, which makes room to keep what is dear.
    """
    best = _keeping_more(step, given, room, tries, measure)
    cheap = _cheap_and_kept(step, best)
    while cheap:
        more = dict.fromkeys((call for unit in cheap for call in unit), ())
        trial = gone_through(step, step.in_all_passes({**more, **best.choice}))
        if measure(trial.outcome) <= room:
            trial = _keeping_more(step, trial, room, tries, measure)
        if measure(trial.outcome) <= room and trial.outcome.cost < best.outcome.cost:
            best = trial
        cheap = cheap[: len(cheap) // 2]
    return best


def _cheap_and_kept(step: Rehearsal, candidate: Candidate) -> list[tuple[int, ...]]:
    """Units that are kept though something dearer for its bytes runs again, cheapest first."""
    dear = max((_worth(step, unit) for unit in _units(step, candidate.choice)), default=0)
    makers = (step.seen.values[value].call for value in candidate.outcome.kept)
    kept = (call for call in makers if step.can_run_again[call])
    units = sorted(_units(step, dict.fromkeys(kept)), key=lambda unit: _worth(step, unit))
    return [unit for unit in units if _worth(step, unit) < dear]


def _keeping_more(
    step: Rehearsal, given: Candidate, room: int, most: int, measure: Measure
) -> Candidate:
    """A candidate within ``room`` bytes that keeps what can be kept, the dearest first.

    Of those that are alike, the last one is kept for the shortest time: where it does not fit, none
    of them does.
    """
    best, tries = given, 0
    alike: dict[object, list[tuple[int, ...]]] = {}
    for unit in sorted(_units(step, given.choice), key=lambda unit: -_worth(step, unit)):
        alike.setdefault(_likeness(step, unit), []).append(unit)
    for units in alike.values():
        for unit in sorted(units, reverse=True):
            if unit[0] not in best.choice or not _worth(step, unit):
                continue
            if tries == most:
                return best
            tries += 1
            kept = step.in_all_passes({c: best.choice[c] for c in unit if c in best.choice})
            trial = gone_through(step, {c: p for c, p in best.choice.items() if c not in kept})
            if measure(trial.outcome) > room:
                break
            if trial.outcome.cost < best.outcome.cost:
                best = trial
    return best


def _likeness(step: Rehearsal, unit: tuple[int, ...]) -> object:
    calls = [step.seen.calls[number] for number in unit]
    sizes = tuple(step.seen.values[value].bytes for call in calls for value in call.made)
    return tuple(call.func for call in calls), tuple(step.costs[number] for number in unit), sizes


def _units(step: Rehearsal, choice: Mapping[int, object]) -> list[tuple[int, ...]]:
    first = [call for call in choice if step.seen.calls[call].forward == 0]
    return list(dict.fromkeys(step.unit_of[call] for call in first))


def _worth(step: Rehearsal, unit: tuple[int, ...]) -> float:
    """What it costs to compute a byte of a unit again."""
    size = sum(step.seen.values[v].bytes for call in unit for v in step.seen.calls[call].made)
    return sum(step.costs[call] for call in unit) / max(size, 1)
