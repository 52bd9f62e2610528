"""A forward pass cut into stages, where little goes from one to the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from memprop.torch.checkpoint.observed import SeenCall
from memprop.torch.checkpoint.rehearsal import Rehearsal

MOST: Final = 96
"""Stages, at most: the planner's time grows with their third power."""


@dataclass(frozen=True)
class Stage:
    """Calls that follow one another.

    Attributes:
        calls: their numbers.
        handed_on: the values that later stages read.
        skipping: those of the values that are read only later than in the next stage.
    """

    calls: tuple[int, ...]
    handed_on: frozenset[int]
    skipping: frozenset[int]


@dataclass(frozen=True)
class Cutting:
    """How a forward pass is cut.

    Attributes:
        share: what a stage hands on is at most this share of what it keeps, else it is joined with
            one beside it: what is handed on is kept whatever the way of a stage.
        at_dear: whether cuts that hand on what is dear to compute are preferred to others.
    """

    share: float
    at_dear: bool


def stages_of(step: Rehearsal, cutting: Cutting) -> list[Stage]:
    """The stages of the first forward pass of a step.

    Cuts are where the fewest bytes are handed on, compared with the places beside them.
    """
    calls = [call for call in step.seen.calls if call.forward == 0]
    if not calls:
        return []
    last = _last_reads(step, calls)
    low = _low_points(_crossing(step, calls, last))
    first = calls[0].number
    near = {value: read for value, read in last.items() if _passes(step, value, read, low, first)}
    places = _Places(
        crossing=_crossing(step, calls, near),
        dear=_crossing(step, calls, near, [step.costs[value.call] for value in step.seen.values]),
        saved=_saved_up_to(step, calls),
    )
    cuts = _joined(low, places, cutting)
    borders = [0, *cuts, len(calls)]
    stage_at = np.searchsorted(cuts, np.arange(len(calls)), side="right")
    found: list[Stage] = []
    for begin, end in pairwise(borders):
        handed = {
            value
            for value, read in last.items()
            if step.seen.values[value].call - first < end <= read - first
        }
        skipping = {
            value
            for value in handed
            if stage_at[last[value] - first] > stage_at[step.seen.values[value].call - first] + 1
        }
        numbers = tuple(call.number for call in calls[begin:end])
        found.append(Stage(numbers, frozenset(handed), frozenset(skipping)))
    return found


_MANY: Final = 4 * MOST
"""Cuts, of which the worst is looked for again and again."""

_FAR: Final = 3


def _passes(step: Rehearsal, value: int, read: int, low: Sequence[int], first: int) -> bool:
    """Whether a value is read soon, or must not be cut off from what is written over it."""
    begin, end = np.searchsorted(low, [step.seen.values[value].call - first + 1, read - first + 1])
    return end - begin < _FAR or step.seen.values[value].overwritten


def _last_reads(step: Rehearsal, calls: Sequence[SeenCall]) -> dict[int, int]:
    """For each value that one of the calls made, the last call that reads it."""
    last: dict[int, int] = {}
    for call in calls:
        for value in call.operands:
            if step.seen.values[value].call >= calls[0].number:
                last[value] = call.number
    return last


@dataclass(frozen=True)
class _Places:
    """The places between calls.

    Attributes:
        crossing: the bytes that are handed over each.
        dear: what it costs to make them.
        saved: the bytes that nodes have saved of what the calls before each made.
    """

    crossing: np.ndarray
    dear: np.ndarray
    saved: np.ndarray


def _crossing(
    step: Rehearsal,
    calls: Sequence[SeenCall],
    last: dict[int, int],
    sizes: Sequence[float] | None = None,
) -> np.ndarray:
    """For each place between two calls, the bytes that are handed over it; inf if none can be.

    Or what else each value comes to by ``sizes``.

    What is written over later belongs to what is written over it, so that nothing comes between.
    """
    moved, closed = np.zeros(len(calls) + 1), np.zeros(len(calls) + 1)
    first = calls[0].number
    for number, read in last.items():
        value = step.seen.values[number]
        size = value.bytes if sizes is None else sizes[number]
        begin, end = value.call - first + 1, read - first + 1
        moved[begin] += size
        moved[end] -= size
        if value.overwritten:
            closed[begin] += 1
            closed[end] -= 1
    crossing = np.cumsum(moved)[:-1]
    crossing[np.cumsum(closed)[:-1] > 0] = np.inf
    return crossing


def _low_points(crossing: np.ndarray) -> list[int]:
    """The places that are no higher than those beside them."""
    inner = range(1, len(crossing))
    after = [*crossing[1:], np.inf]
    return [
        place
        for place in inner
        if np.isfinite(crossing[place])
        and crossing[place] <= (crossing[place - 1] if place > 1 else np.inf)
        and crossing[place] <= after[place]
    ]


def _saved_up_to(step: Rehearsal, calls: Sequence[SeenCall]) -> np.ndarray:
    """For each place, the bytes that nodes have saved of what the calls before it made."""
    values = step.seen.values
    saved = [sum(values[v].bytes for v in call.made if values[v].saves) for call in calls]
    return np.concatenate([[0], np.cumsum(saved)])


def _spaced(cuts: Sequence[int], places: _Places, share: float) -> list[int]:
    """Cuts with enough between one and the next, from the first to the last."""
    found, since = [], 0
    for cut in cuts:
        if places.crossing[cut] < share * (places.saved[cut] - places.saved[since]):
            found.append(cut)
            since = cut
    return found


def _joined(cuts: list[int], places: _Places, cutting: Cutting) -> list[int]:
    """The cuts that remain if stages that keep little are joined with one beside them."""
    end, saved = len(places.saved) - 1, places.saved
    if len(cuts) > _MANY:  # where the same is handed on everywhere
        cuts = _spaced(cuts, places, cutting.share)

    def badness(place: int) -> tuple[float, float, float]:
        """What is handed on, compared with what the smaller of the stages beside keeps.

        Of several that are as bad, those may go first where what is handed on, and so kept, is
        cheap to compute again, and then those between the smallest stages.
        """
        cut = cuts[place]
        before = cuts[place - 1] if place else 0
        after = cuts[place + 1] if place + 1 < len(cuts) else end
        smaller = min(saved[cut] - saved[before], saved[after] - saved[cut])
        ratio = places.crossing[cut] / max(smaller, 1)
        dear = places.dear[cut] if cutting.at_dear else 0
        return ratio, -dear, saved[before] - saved[after]

    while cuts:
        worst = max(range(len(cuts)), key=badness)
        if badness(worst)[0] <= cutting.share and len(cuts) < MOST:
            break
        del cuts[worst]
    return cuts
