"""The buffers that are alive, each known by the array that owns it.

The owner stands at the end of the chain of ``base``. All views have the same owner and keep it
alive, so a buffer counts once and dies when its last view dies.
"""

import tracemalloc
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from memprop.profiler.phases import now


@dataclass(eq=False, slots=True)
class Storage:
    """A buffer that is alive.

    Attributes:
        number: of the buffer in the trace.
        bytes: its size.
        owner: the array that owns the memory.
        traced: whether tracemalloc has seen it being allocated.
        variable: the value in it now.
        label: the name that the user gave to that; ``None`` if there is none.
    """

    number: int
    bytes: int
    owner: weakref.ref[np.ndarray]
    traced: bool
    variable: int
    label: str | None = None


class Buffers:
    """The storages of one profile.

    Deaths may come at any time, on any thread, even from the garbage collector while a lock is
    held. So they only join a queue, which needs no lock, and are taken from it by :meth:`dead`.
    An owner that is looked up is alive, so whoever had its ``id`` before is in the queue by then.

    Attributes:
        bytes: of all storages together.
        traced_bytes: of those that tracemalloc has seen being allocated.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.traced_bytes = 0
        self._by_owner: dict[int, Storage] = {}
        self._deaths: deque[tuple[int, int]] = deque()
        self._made = 0

    def find(self, array: np.ndarray) -> Storage | None:
        """The storage of an array, if it is known."""
        return self._by_owner.get(id(owner_of(array)))

    def add(self, array: np.ndarray, variable: int) -> Storage:
        """A storage for the buffer of ``array``, with ``variable`` in it."""
        owner = owner_of(array)
        key, deaths = id(owner), self._deaths
        reference = weakref.ref(owner, lambda _: deaths.append((key, now())))
        traced = tracemalloc.get_object_traceback(owner) is not None
        storage = Storage(self._made, buffer_bytes(owner), reference, traced, variable)
        self._made += 1
        self._by_owner[key] = storage
        self._count(storage, 1)
        return storage

    def dead(self) -> Iterator[tuple[Storage, int]]:
        """Forget what has died since it was last asked; yields storage and time, in order."""
        while self._deaths:
            key, at = self._deaths.popleft()
            storage = self._by_owner.pop(key)
            self._count(storage, -1)
            yield storage, at

    def forget(self) -> None:
        """Stop following buffers."""
        self._by_owner.clear()

    def _count(self, storage: Storage, sign: int) -> None:
        self.bytes += sign * storage.bytes
        self.traced_bytes += sign * storage.bytes * storage.traced


def owner_of(array: np.ndarray) -> np.ndarray:
    """The array at the end of the chain of bases, which lives as long as any view of it."""
    while True:
        base = array.base
        if isinstance(base, memoryview):
            base = base.obj
        elif base is not None and not isinstance(base, np.ndarray):
            base = getattr(base, "base", None)  # as_strided puts an object of its own in between
        if not isinstance(base, np.ndarray):
            return array
        array = base


def buffer_bytes(owner: np.ndarray) -> int:
    """Bytes of a buffer; of memory that is not NumPy's, what the array spans."""
    if owner.base is None:
        return owner.nbytes
    low, high = np.lib.array_utils.byte_bounds(owner)
    return high - low
