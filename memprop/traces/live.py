"""Live bytes after each event, in all and by category."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from memprop.terms import CATEGORIES
from memprop.traces.events import ALLOCATE, FREE, Events


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
    changes = np.zeros((len(events), len(CATEGORIES)), dtype=np.int64)
    holders: defaultdict[int, list[int]] = defaultdict(list)
    columns = (events.kind, events.variable, events.storage, events.bytes)
    for event, (kind, variable, storage, size) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        inside = holders[storage]
        before = inside[0] if inside else None
        if kind == ALLOCATE:
            inside.append(variable)
        elif kind == FREE:
            inside.remove(variable)
        else:
            continue
        after = inside[0] if inside else None
        if before is not None and before != after:
            changes[event, category_of[before]] -= size
        if after is not None and before != after:
            changes[event, category_of[after]] += size
    return LiveBytes(moved=changes.sum(axis=1), by_category=np.cumsum(changes, axis=0))
