"""Which calls run again, for a budget: the cheapest of several curves of choices."""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import combinations
from typing import Final

import numpy as np

from memprop.torch.checkpoint.as_chain import as_chain
from memprop.torch.checkpoint.curves import (
    Candidate,
    Curve,
    Graded,
    Measure,
    OfChain,
    Offloading,
    Unit,
    cheaper_than_copies,
    gone_through,
    peak,
)
from memprop.torch.checkpoint.graded import graded_units
from memprop.torch.checkpoint.improving import improved
from memprop.torch.checkpoint.rehearsal import Rehearsal
from memprop.torch.checkpoint.run_through import Choice
from memprop.torch.checkpoint.searching import MOST_UNITS, Search
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
_TRIES: Final = 500
"""Choices that a search goes through, at most."""
_SEARCHES: Final = 12
"""Budgets of a curve for which there is a search."""
_CURVE_TRIES: Final = 150
"""Choices that each of these goes through."""
_LOWER: Final = 0.98
"""The least peak is looked for below that share of the last one, time and again."""


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
        self._units = step.units(step.everything())
        # Where there are fewer, every choice is among the few, if nothing waits on the host.
        fewest = EVERY_CHOICE if step.copying == math.inf else 0
        self._is_searched = fewest < len(self._units) <= MOST_UNITS
        ways = graded_units(step)
        self._curves: list[Curve] = [Graded(step, ways), *map(OfChain, found.values())]
        if step.copying < math.inf:
            bases = (cheaper_than_copies(step, ways), self._lowest().choice)
            self._curves += [Offloading(step, base) for base in bases]

    def every(self, most: int = 10**9) -> list[Candidate]:
        """Those that are worth their memory, by rising peak.

        Args:
            most: how many plans of each chain are gone through, about.
        """
        found = [*self._few, *(one for c in self._curves for one in c.some(most))]
        if self._is_searched:
            found += self._searched_between(worth_it([self.least, *found]), min(most, _SEARCHES))
        return worth_it(found)

    def _searched_between(self, curve: Sequence[Candidate], count: int) -> Iterator[Candidate]:
        """What is found from the cheapest of a curve that is within each of some budgets."""
        least, most = curve[0].outcome.peak, curve[-1].outcome.peak
        for room in np.linspace(least, most, count + 1)[:-1]:
            best = _cheapest(curve, int(room), peak)
            yield from self._searched([best or curve[0]], int(room), peak, _CURVE_TRIES)

    def within(self, room: int, measure: Measure = peak) -> Candidate | None:
        """The cheapest that is within ``room`` bytes by a measure; ``None`` if none is."""
        found = [*self._few, *(one for c in self._curves for one in c.near(room, measure))]
        best = _cheapest(found, room, measure)
        if best is not None:
            best = improved(self._step, best, room, measure=measure)
        if not self._is_searched:
            return best
        starts = [self._lowest() if best is None else best, *self._extremes]
        return _cheapest(self._searched(starts, room, measure), room, measure) or best

    @cached_property
    def least(self) -> Candidate:
        """That of the lowest peak, as far as is known."""
        best = self._lowest()
        while self._is_searched:
            found = self._searched([best, *self._extremes], round(_LOWER * best.outcome.peak), peak)
            lowest = min(found, key=_by_peak)
            if lowest.outcome.peak >= best.outcome.peak:
                break
            best = lowest
        return best

    def _lowest(self) -> Candidate:
        """The lowest of the curves."""
        found = [*self._few, *(one for c in self._curves for one in c.near(0, peak))]
        return min(found, key=_by_peak)

    @cached_property
    def _extremes(self) -> list[Candidate]:
        """Nothing runs again, and everything."""
        return [gone_through(self._step, one) for one in ({}, self._step.everything())]

    def _searched(
        self, starts: list[Candidate], room: int, measure: Measure, tries: int = _TRIES
    ) -> list[Candidate]:
        search = Search(self._step, self._units, room, measure, tries)
        return [search.cheapest(start) for start in starts]


def _by_peak(one: Candidate) -> tuple[int, float]:
    return one.outcome.peak, one.outcome.cost


def _cheapest(found: Iterable[Candidate], room: int, measure: Measure) -> Candidate | None:
    fitting = (one for one in found if measure(one.outcome) <= room)
    return min(fitting, key=lambda one: one.outcome.cost, default=None)


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


def _worth_dropping(step: Rehearsal) -> Iterator[Unit]:
    """The units that can run again, and of whose values something is saved or read later."""
    asked = set(step.of(step.everything()).runs)
    for call in step.seen.calls:
        if call.forward == 0 and call.number in asked:
            yield step.unit_of[call.number]
