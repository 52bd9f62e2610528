"""What a simulated program asks of the allocator of the device that it pretends to run on.

The log begins with the making of the model and goes through the steps before the one that is
traced, so that it knows more than the trace: the order of all requests, and what libraries keep.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from memprop.torch.record.storages import home_of
from memprop.traces.requests import BEFORE, FREED, NO_STORAGE, Requests


class RequestLog:
    """Follows storages from birth to death, across steps."""

    def __init__(self) -> None:
        self._now: Callable[[], int] = _before
        self._rows: list[tuple[int, int, int]] = []
        self._count = 0
        self._alive: dict[int, tuple[int, weakref.ref[torch.UntypedStorage]]] = {}
        self._kept: dict[str, int] = {}
        self._of_trace: dict[int, int] = {}
        self._storages: dict[int, int] = {}
        self._given: set[int] = set()

    def begin(self, now: Callable[[], int]) -> None:
        """A step begins: what was asked for up to now was before it.

        Args:
            now: gives the number of the trace's next event.
        """
        self._now = now
        self._rows = [(number, size, BEFORE) for number, size, _ in self._rows]

    def saw(self, tensor: torch.Tensor, storage: int, *, given: bool) -> None:
        """A tensor's storage is there, which the trace counts as ``storage``.

        Args:
            tensor: any tensor that lives in it.
            storage: its number in the trace.
            given: whether it was there before the operator that runs.
        """
        home = home_of(tensor)
        known = self._alive.get(home._cdata)
        if known is not None:
            self._of_trace[storage] = known[0]
            return
        number = self._take(home.nbytes())
        if given:
            self._given.add(number)
        self._of_trace[storage] = number
        key = home._cdata
        self._alive[key] = (number, weakref.ref(home, lambda _: self._died(key)))

    def resized(self, tensor: torch.Tensor, storage: int) -> None:
        """A tensor's storage has another size, and the trace counts it as ``storage`` now."""
        home = home_of(tensor)
        known = self._alive.get(home._cdata)
        if known is None:
            return
        old, alive = known
        self._rows.append((old, FREED, self._now()))
        number = self._of_trace[storage] = self._take(home.nbytes())
        self._alive[home._cdata] = (number, alive)

    @contextmanager
    def used(self, sizes: Iterable[int]) -> Iterator[None]:
        """A kernel has buffers inside the block."""
        taken = [self._take(size) for size in sizes]
        yield
        for number in taken:
            self._rows.append((number, FREED, self._now()))

    def keep(self, name: str, size: int) -> None:
        """A library takes a buffer once, and keeps it."""
        if name not in self._kept:
            self._kept[name] = self._take(size)

    def end(self, sums: Iterable[tuple[int, int]]) -> None:
        """The step ends.

        Args:
            sums: storages of the trace that were the same all along: a sum and its first operand.
        """
        self._now = _before
        same: dict[int, int] = {}
        for result, operand in sums:
            same[self._of_trace[result]] = self._of_trace[operand]
        rows, skipped = [], set(same.values())
        for number, size, event in self._rows:
            if number in same and size != FREED:  # made in the operand's block
                continue
            if number in skipped and size == FREED:
                continue
            rows.append((_root(number, same), size, event))
        self._rows = rows
        self._storages = {
            number: storage for storage, number in self._of_trace.items() if number not in same
        }
        self._of_trace.clear()
        for key, (number, storage) in self._alive.items():
            self._alive[key] = _root(number, same), storage

    def requests(self, events: int) -> Requests:
        """All requests; what was given was there from the beginning.

        Args:
            events: how many the trace has. What is let go of after the last one goes with that.
        """
        given = [row for row in self._rows if row[0] in self._given and row[1] != FREED]
        rest = [row for row in self._rows if row[0] not in self._given or row[1] == FREED]
        rows = [(number, size, BEFORE) for number, size, _ in given] + rest
        block, size, event = np.array(rows, dtype=np.int64).reshape(-1, 3).T
        storage = np.array([self._storages.get(row[0], NO_STORAGE) for row in rows], np.int64)
        return Requests(block, size, np.minimum(event, events - 1), storage, dict(self._kept))

    def _take(self, size: int) -> int:
        self._count += 1
        self._rows.append((self._count, size, self._now()))
        return self._count

    def _died(self, key: int) -> None:
        number, _ = self._alive.pop(key)
        self._rows.append((number, FREED, self._now()))


def _before() -> int:
    return BEFORE


def _root(number: int, same: dict[int, int]) -> int:
    while number in same:
        number = same[number]
    return number
