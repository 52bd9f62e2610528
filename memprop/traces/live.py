"""What lives when: the lives of all variables, and the live bytes that follow from them.

Everything that asks what is alive reads :class:`Lives`: the live bytes, the tables of
intermediates, the pages and the exports.
"""

from dataclasses import dataclass

import numpy as np

from memprop.terms import CATEGORIES
from memprop.traces.events import ALLOCATE, FREE, READ, Events


@dataclass(frozen=True, eq=False)
class Lives:
    """The lives of all variables in columns of shape ``(lives,)``.

    A variable that is computed again has several. Lives in one storage stand together, in the order
    in which they begin.

    Attributes:
        variable: its number in the trace.
        storage: the number of the storage that it lives in.
        born: the event of its allocation.
        died: the event that frees it; the number of events if none does.
        oldest_from: the event from which on it is the oldest life in its storage. One that never is
            ends before that: ``died < oldest_from``.
    """

    variable: np.ndarray
    storage: np.ndarray
    born: np.ndarray
    died: np.ndarray
    oldest_from: np.ndarray


@dataclass(frozen=True, eq=False)
class LiveBytes:
    """The account of a step.

    Attributes:
        moved: bytes by which each event changes what is live, shape ``(events,)``. A storage
            counts once, even if several variables share it.
        by_category: bytes of each category alive after each event, shape ``(events, categories)``.
    """

    moved: np.ndarray
    by_category: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Live bytes after each event, shape ``(events,)``."""
        return np.cumsum(self.moved)


@dataclass(frozen=True, slots=True)
class Buffer:
    """A storage that is alive.

    Attributes:
        variable: the oldest of the variables that live in it, as an index in the trace; its
            category is the one that the bytes count for.
        bytes: its size.
        born: the event at which that variable came to life.
    """

    variable: int
    bytes: int
    born: int


def lives_of(events: Events) -> Lives:
    """Follow every variable from each allocation to its free."""
    moves = np.flatnonzero(events.kind != READ)
    moves = moves[np.argsort(events.variable[moves], kind="stable")]
    begins = np.flatnonzero(events.kind[moves] == ALLOCATE)
    born = moves[begins]
    # In the life of a variable an allocation is followed by its free, if there is one.
    following = np.append(moves, len(events))[begins + 1]
    ends = np.append(events.kind, ALLOCATE)[following] == FREE
    died = np.where(ends, following, len(events))
    order = np.lexsort((born, events.storage[born]))
    born, died = born[order], died[order]
    storage = events.storage[born]
    return Lives(events.variable[born], storage, born, died, _oldest_from(storage, born, died))


def live_bytes(events: Events, lives: Lives, category_of: np.ndarray) -> LiveBytes:
    """Count every storage from its first variable to its last.

    A storage belongs to the category of the oldest variable that lives in it.

    Args:
        events: what happened.
        lives: the lives of these events.
        category_of: for each variable the index of its category.
    """
    begin, died = lives.oldest_from, lives.died
    category = category_of[lives.variable]
    changes = np.zeros((len(events), len(CATEGORIES)), dtype=np.int64)
    counts = begin < died
    np.add.at(changes, (begin[counts], category[counts]), events.bytes[begin[counts]])
    counts &= died < len(events)
    np.subtract.at(changes, (died[counts], category[counts]), events.bytes[died[counts]])
    return LiveBytes(moved=changes.sum(axis=1), by_category=np.cumsum(changes, axis=0))


def buffers_at(events: Events, lives: Lives, event: int) -> list[Buffer]:
    """The buffers that live after ``event``, by birth; their bytes sum to the live bytes."""
    there = np.flatnonzero((lives.oldest_from <= event) & (event < lives.died))
    there = there[np.argsort(lives.born[there])]
    born = lives.born[there]
    columns = (lives.variable[there], events.bytes[born], born)
    return [Buffer(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


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
