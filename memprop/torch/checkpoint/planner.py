"""Which calls run again, for a budget: the cheapest of several curves of choices."""

import math
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Final

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
from memprop.torch.checkpoint.rehearsal import Choice, Rehearsal
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
        ways = graded_units(step)
        self._curves: list[Curve] = [Graded(step, ways), *map(OfChain, found.values())]
        if step.copying < math.inf:
            bases = (cheaper_than_copies(step, ways), self.least.choice)
            self._curves += [Offloading(step, base) for base in bases]

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
