"""Live bytes after each event, in all and by category."""

from dataclasses import dataclass

import numpy as np

from memprop.terms import CATEGORIES
from memprop.traces.events import ALLOCATE, FREE, READ, Events


@dataclass(frozen=True, eq=False)
class LiveBytes:
    """The account of a step.

    Attributes:
        moved: bytes by which each event changes what is live, shape ``(events,)``. A storage
            counts once, however many variables live in it.
        by_category: bytes of each category alive after each event, shape ``(events, categories)``.
    """

    moved: np.ndarray
    by_category: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Live bytes after each event, shape ``(events,)``."""
        return np.cumsum(self.moved)


def live_bytes(events: Events, category_of: np.ndarray) -> LiveBytes:
    """Follow every storage from its first variable to its last.

    A storage belongs to the category of the oldest variable that lives in it.

    Args:
        events: what happened.
        category_of: for each variable the index of its category.
    """
    born, died = _lives(events)
    begin = _oldest_from(events.storage[born], born, died)
    category = category_of[events.variable[born]]
    changes = np.zeros((len(events), len(CATEGORIES)), dtype=np.int64)
    counts = begin < died
    np.add.at(changes, (begin[counts], category[counts]), events.bytes[begin[counts]])
    counts &= died < len(events)
    np.subtract.at(changes, (died[counts], category[counts]), events.bytes[died[counts]])
    return LiveBytes(moved=changes.sum(axis=1), by_category=np.cumsum(changes, axis=0))


def _lives(events: Events) -> tuple[np.ndarray, np.ndarray]:
    """The events at which each life begins and ends; the number of events if it never ends.

    Lives in one storage stand together, in the order in which they begin.
    """
    moves = np.flatnonzero(events.kind != READ)
    moves = moves[np.argsort(events.variable[moves], kind="stable")]
    begins = np.flatnonzero(events.kind[moves] == ALLOCATE)
    born = moves[begins]
    # In the life of a variable an allocation is followed by its free, if there is one.
    following = np.append(moves, len(events))[begins + 1]
    ends = np.append(events.kind, ALLOCATE)[following] == FREE
    died = np.where(ends, following, len(events))
    order = np.lexsort((born, events.storage[born]))
    return born[order], died[order]


def _oldest_from(storage: np.ndarray, born: np.ndarray, died: np.ndarray) -> np.ndarray:
    """From which event on each life is the oldest in its storage: when all before it have ended.

    Lives that end before that have a later event here than in ``died``.
    """
    first = np.diff(storage, prepend=-1) != 0
    # The latest end so far, storage by storage: those of each stand above all of those before.
    above = np.cumsum(first) * (died.max(initial=0) + 1)
    latest = np.maximum.accumulate(died + above) - above
    before = np.where(first, -1, np.roll(latest, 1))
    return np.maximum(born, before)
