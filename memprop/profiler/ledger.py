"""Buffers and the values in them: every read, allocation and death as an event of a trace.

A *storage* is a buffer, known by the array that owns it: what stands at the end of the chain of
``base``. All views have the same owner and keep it alive, so a buffer counts once and dies when
its last view dies. A *variable* is a value in a storage; an operation that writes into an array
makes a new value in the same storage.
"""

import threading
import tracemalloc
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from memprop.profiler.calls import Call, Operands, arrays_in
from memprop.profiler.effects import FROM_SHAPE, flops
from memprop.profiler.phases import now
from memprop.profiler.sites import current_site, site_of
from memprop.terms import PERSISTENT
from memprop.traces.recorder import Recorder
from memprop.traces.trace import Trace

CATEGORY_OF_PHASE: Final[Mapping[str, str]] = {
    "forward": "activation",
    "loss": "activation",
    "backward": "activation_gradient",
}
"""What the result of an operation is for; "workspace" in any other phase."""

_LASTING: Final = PERSISTENT | {"parameter_gradient"}
"""What a user named so stays so, also when it is written over."""


@dataclass(eq=False, slots=True)
class Storage:
    """A buffer that is alive.

    Attributes:
        number: of the buffer in the trace.
        bytes: its size.
        variable: the value in it now.
        owner: the array that owns the memory.
        traced: whether tracemalloc has seen it being allocated.
        label: the name that the user gave to it.
    """

    number: int
    bytes: int
    variable: int
    owner: weakref.ref[np.ndarray]
    traced: bool
    label: str | None = None


class Ledger:
    """The account of one profile's watched arrays.

    Deaths may come at any time, on any thread, even from the garbage collector while the lock is
    held. So they only join a queue, which no lock guards, and are booked before the next event.

    Args:
        phase: tells the phase that is open.
    """

    def __init__(self, phase: Callable[[], str]) -> None:
        self.closed = False
        self.watched_bytes = 0
        self.traced_bytes = 0
        self._phase = phase
        self._recorder = Recorder()
        self._storages: dict[int, Storage] = {}
        self._deaths: deque[tuple[int, int]] = deque()
        self._lock = threading.RLock()
        self._began = now()
        self._made = 0
        self._operator = -1

    def __len__(self) -> int:
        return len(self._recorder)

    def watch(self, array: np.ndarray, name: str, category: str) -> None:
        """Give the value in ``array`` a name and a category."""
        with self._lock:
            self.settle()
            storage = self._find(array)
            if storage is None:
                storage = self._born(array, name, category, site=current_site())
            elif storage.label != name:
                self._recorder.rename(storage.variable, name=name)
            self._recorder.rename(storage.variable, category=category, shape=array.shape)
            storage.label = name

    def knows(self, array: np.ndarray) -> bool:
        """Whether the memory of ``array`` is in the account."""
        with self._lock:
            self.settle()
            return self._find(array) is not None

    def record(self, call: Call, result: Any, operands: Operands) -> None:
        """Book what ``call`` read, made and wrote. One that only made views is no operation."""
        with self._lock:
            self.settle()
            read = list(arrays_in(call.inputs))
            returned = list(arrays_in(result))
            fresh = self._fresh(returned, operands)
            if not fresh and not call.written and returned:
                return
            self._operate(call, read, fresh)

    def _operate(self, call: Call, read: list[np.ndarray], fresh: list[np.ndarray]) -> None:
        sources = [] if call.identity in FROM_SHAPE else [self._adopted(array) for array in read]
        targets = [self._adopted(array) for array in call.written]
        sources += [
            storage
            for storage, array in zip(targets, call.written, strict=True)
            if call.partial or array.nbytes < storage.bytes
        ]
        phase = self._phase()
        count = flops(call.identity or call.function, call.args, read, [*fresh, *call.written])
        site = current_site()
        self._operator = self._recorder.operator(call.name, phase, site=site, flops=count)
        name = self._recorder.operators[self._operator].name
        category = CATEGORY_OF_PHASE.get(phase, "workspace")
        for array in fresh:
            self._born(array, name, category, site=site)
        for storage in dict.fromkeys(sources):
            self._event(self._recorder.read, storage, storage.variable)
        for storage, array in zip(targets, call.written, strict=True):
            self._overwrite(storage, array, name, site)

    def _fresh(self, returned: Iterable[np.ndarray], operands: Operands) -> list[np.ndarray]:
        """The results that are in memory of their own, one for each buffer."""
        given = {id(_owner(array)) for array in operands.original.values()}
        found = {id(_owner(array)): array for array in returned if type(array) is np.ndarray}
        return [a for key, a in found.items() if key not in given and key not in self._storages]

    def _adopted(self, array: np.ndarray) -> Storage:
        """The storage of an operand; one that nobody watched comes into the account here.

        What was there before tracing began was there before the step: it counts as a parameter.
        """
        storage = self._find(array)
        if storage is not None:
            return storage
        traceback = tracemalloc.get_object_traceback(_owner(array))
        if traceback is None:
            return self._born(array, "unwatched", "parameter", site="")
        site = site_of((frame.filename, frame.lineno) for frame in reversed(traceback))
        category = CATEGORY_OF_PHASE.get(self._phase(), "workspace")
        return self._born(array, "unwatched", category, site=site)

    def _born(self, array: np.ndarray, name: str, category: str, *, site: str) -> Storage:
        owner = _owner(array)
        variable = self._variable(name, category, array, _bytes(owner), site)
        key, deaths = id(owner), self._deaths
        reference = weakref.ref(owner, lambda _: deaths.append((key, now())))
        traced = tracemalloc.get_object_traceback(owner) is not None
        storage = Storage(self._made, _bytes(owner), variable, reference, traced)
        self._made += 1
        self._storages[key] = storage
        self._count(storage, 1)
        self._event(self._recorder.allocate, storage, variable)
        return storage

    def _overwrite(self, storage: Storage, array: np.ndarray, name: str, site: str) -> None:
        """A new value in the buffer; the old one is gone."""
        old = storage.variable
        category, kept = self._category_over(storage)
        label = storage.label if kept and storage.label else name
        storage.variable = self._variable(label, category, array, storage.bytes, site)
        storage.label = label if kept else None
        self._event(self._recorder.allocate, storage, storage.variable)
        self._event(self._recorder.free, storage, old)

    def _category_over(self, storage: Storage) -> tuple[str, bool]:
        """What a new value in the buffer is for, and whether it is what the old one was."""
        before = self._recorder.variables[storage.variable].category
        by_phase = CATEGORY_OF_PHASE.get(self._phase())
        if by_phase is None or (storage.label is not None and before in _LASTING):
            return before, True
        return by_phase, False

    def _variable(
        self, name: str, category: str, array: np.ndarray, size: int, site: str
    ) -> int:
        dtype = str(array.dtype)
        return self._recorder.variable(name, category, array.shape, dtype, size, site=site)

    def _find(self, array: np.ndarray) -> Storage | None:
        return self._storages.get(id(_owner(array)))

    def settle(self) -> None:
        """Book the deaths since the last event, in their order."""
        with self._lock:
            while self._deaths:
                key, at = self._deaths.popleft()
                storage = self._storages.pop(key)
                self._count(storage, -1)
                self._event(self._recorder.free, storage, storage.variable, at)

    def _count(self, storage: Storage, sign: int) -> None:
        self.watched_bytes += sign * storage.bytes
        self.traced_bytes += sign * storage.bytes * storage.traced

    def _event(
        self,
        kind: Callable[..., None],
        storage: Storage,
        variable: int,
        at: int | None = None,
    ) -> None:
        passed = (now() if at is None else at) - self._began
        kind(variable, storage.number, storage.bytes, self._phase(), self._operator, passed)

    def trace(self, about: Mapping[str, Any]) -> Trace:
        """What happened so far."""
        with self._lock:
            self.settle()
            return self._recorder.trace(about)

    def close(self) -> None:
        """Record no more: watched arrays that live on behave like plain ones."""
        with self._lock:
            self.settle()
            self.closed = True
            self._storages.clear()


def _owner(array: np.ndarray) -> np.ndarray:
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


def _bytes(owner: np.ndarray) -> int:
    """Bytes of a buffer; of memory that is not NumPy's, what the array spans."""
    if owner.base is None:
        return owner.nbytes
    low, high = np.lib.array_utils.byte_bounds(owner)
    return high - low

