"""A search from one choice to the next, unit by unit, for steps of few units.

Curves of choices have an order in which units run again. Where a graph branches, one that comes
early in it may cost more memory than it saves, and spoils all choices behind it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from memprop.torch.checkpoint.curves import Candidate, Measure, Unit, gone_through, peak
from memprop.torch.checkpoint.rehearsal import Rehearsal
from memprop.torch.checkpoint.run_through import Choice

MOST_UNITS: Final = 64
"""Units of a step that is searched, at most: a search takes some tenths of a second."""


@dataclass
class Search:
    """Looks for choices that keep to a budget.

    Args:
        step: the step.
        units: the units that may run again.
        room: the budget.
        measure: what is held against it.
        tries: choices that are gone through, at most.
    """

    step: Rehearsal
    units: list[Unit]
    room: int
    measure: Measure
    tries: int
    _known: dict[frozenset[object], Candidate] = field(default_factory=dict)

    def cheapest(self, start: Candidate) -> Candidate:
        """The cheapest choice that is found from one, or what comes nearest to the budget."""
        best = self._within(start, frozenset())
        if self._excess(best) > 0:
            return best
        found = True
        while found and self.tries > 0:
            found = False
            for unit in sorted(self._running(best), key=self._cost, reverse=True):
                trial = self._within(self._toggled(best, unit), frozenset(unit))
                if self._excess(trial) == 0 and trial.outcome.cost < best.outcome.cost:
                    best, found = trial, True
                    break
        return best

    def _within(self, start: Candidate, fixed: frozenset[int]) -> Candidate:
        """From a choice on, ever less above the budget; some calls stay as they are."""
        best, excess = start, self._excess(start)
        while excess > 0 and self.tries > 0:
            free = [unit for unit in self.units if not fixed.intersection(unit)]
            better = self._best_of(best, ((unit,) for unit in free))
            if self._excess(better) >= excess:
                better = self._best_of(best, combinations(free, 2))
            if self._excess(better) >= excess:
                break
            best, excess = better, self._excess(better)
        return best

    def _best_of(self, candidate: Candidate, changes: Iterable[tuple[Unit, ...]]) -> Candidate:
        """The best of the choices that some units make another one, as far as there are tries."""
        trials = (self._toggled(candidate, *units) for units in changes if self.tries > 0)
        return min(trials, key=lambda one: (self._excess(one), one.outcome.cost), default=candidate)

    def _running(self, candidate: Candidate) -> list[Unit]:
        return [unit for unit in self.units if unit[0] in candidate.choice]

    def _cost(self, unit: Unit) -> float:
        return sum(self.step.costs[call] for call in unit)

    def _toggled(self, candidate: Candidate, *units: Unit) -> Candidate:
        """The same choice but for some units."""
        choice = dict(candidate.choice)
        for unit in units:
            changed = self.step.in_all_passes(dict.fromkeys(unit, ()))
            if unit[0] in choice:
                choice = {call: path for call, path in choice.items() if call not in changed}
            else:
                choice |= changed
        return self._gone(choice)

    def _gone(self, choice: Choice) -> Candidate:
        key = frozenset((call, type(path), path) for call, path in choice.items())
        if key not in self._known:
            self.tries -= 1
            self._known[key] = gone_through(self.step, choice)
        return self._known[key]

    def _excess(self, candidate: Candidate) -> float:
        """How far, and for how many events, a choice is above the budget."""
        above = self.measure(candidate.outcome) - self.room
        if above <= 0 or self.measure is not peak:
            return max(above, 0)
        over = candidate.outcome.most - self.room
        return float(over[over > 0].sum())
