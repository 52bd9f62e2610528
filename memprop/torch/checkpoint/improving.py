"""A choice made better: what is dear is kept, and what is cheap for its bytes runs again."""

from typing import Final

from memprop.torch.checkpoint.curves import Candidate, Measure, Unit, gone_through, peak
from memprop.torch.checkpoint.host import Loaded
from memprop.torch.checkpoint.rehearsal import Rehearsal
from memprop.torch.checkpoint.run_through import Choice

_TRIES: Final = 60
"""How often one unit is kept instead and all gone through again, at most."""


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


def _cheap_and_kept(step: Rehearsal, candidate: Candidate) -> list[Unit]:
    """Units that are kept though something dearer for its bytes runs again, cheapest first."""
    choice = candidate.choice
    dear = max((_worth(step, unit, choice) for unit in step.units(choice)), default=0)
    makers = (step.seen.values[value].call for value in candidate.outcome.kept)
    kept = (call for call in makers if step.can_run_again[call])
    units = sorted(step.units(kept), key=lambda unit: _worth(step, unit))
    return [unit for unit in units if _worth(step, unit) < dear]


def _keeping_more(
    step: Rehearsal, given: Candidate, room: int, most: int, measure: Measure
) -> Candidate:
    """A candidate within ``room`` bytes that keeps what can be kept, the dearest first.

    Of those that are alike, the last one is kept for the shortest time: where it does not fit, none
    of them does.
    """
    best, tries = given, 0
    alike: dict[object, list[Unit]] = {}
    units = step.units(given.choice)
    for unit in sorted(units, key=lambda unit: -_worth(step, unit, given.choice)):
        is_loaded = isinstance(given.choice[unit[0]], Loaded)
        alike.setdefault((is_loaded, _likeness(step, unit)), []).append(unit)
    for units in alike.values():
        for unit in sorted(units, reverse=True):
            if unit[0] not in best.choice or not _worth(step, unit, best.choice):
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


def _likeness(step: Rehearsal, unit: Unit) -> object:
    calls = [step.seen.calls[number] for number in unit]
    sizes = tuple(step.seen.values[value].bytes for call in calls for value in call.made)
    return tuple(call.func for call in calls), tuple(step.costs[number] for number in unit), sizes


def _worth(step: Rehearsal, unit: Unit, choice: Choice | None = None) -> float:
    """What it costs to compute a byte of a unit again, or to copy it to the host and back."""
    if choice is not None and isinstance(choice[unit[0]], Loaded):
        return 2 * step.copying
    size = sum(step.seen.values[v].bytes for call in unit for v in step.seen.calls[call].made)
    return sum(step.costs[call] for call in unit) / max(size, 1)
