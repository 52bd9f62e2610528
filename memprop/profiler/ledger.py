"""The ledger of watched arrays: every read, allocation and death is an event of a trace.

A *variable* is a value in a buffer. An operation that writes into an array makes a new value in
the same buffer; one that leaves something of what stood there reads it too.
"""

import threading
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from memprop.profiler.buffers import Buffers, Storage, buffer_bytes, owner_of
from memprop.profiler.calls import Call, Operands, arrays_in
from memprop.profiler.effects import FROM_SHAPE, flops
from memprop.profiler.phases import now
from memprop.profiler.sites import current_site, site_of
from memprop.terms import PERSISTENT
from memprop.traces.about import About
from memprop.traces.cut import Mark
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

_NOBODY: Final = -1
"""The maker of what no recorded operation made."""


class Ledger:
    """The ledger of one profile's watched arrays.

    Args:
        phase: tells the phase that is open.
    """

    def __init__(self, phase: Callable[[], str]) -> None:
        self.closed = False
        self.buffers = Buffers()
        self._phase = phase
        self._recorder = Recorder()
        self._lock = threading.RLock()
        self._began = now()
        self._operator = _NOBODY

    def __len__(self) -> int:
        return len(self._recorder)

    def watch(self, array: np.ndarray, name: str, category: str) -> None:
        """Give the value in ``array`` a name and a category."""
        with self._lock:
            self.settle()
            storage = self.buffers.find(array)
            if storage is None:
                storage = self._born(array, name, category, current_site(), _NOBODY)
            elif storage.label != name:
                self._recorder.rename(storage.variable, name=name)
            self._recorder.rename(storage.variable, category=category, shape=array.shape)
            storage.label = name

    def knows(self, array: np.ndarray) -> bool:
        """Whether the memory of ``array``, a result that was just recorded, is in the ledger."""
        return self.buffers.find(array) is not None

    def record(self, call: Call, result: Any, operands: Operands) -> None:
        """Record what ``call`` read, made and wrote, unless it only made views."""
        with self._lock:
            self.settle()
            returned = arrays_in(result)
            fresh = self._fresh(returned, operands)
            if fresh or call.written or not returned:
                self._operate(call, arrays_in(call.inputs), fresh)

    def _operate(self, call: Call, read: list[np.ndarray], fresh: list[np.ndarray]) -> None:
        sources = [] if call.identity in FROM_SHAPE else [self._known(array) for array in read]
        targets = [(self._known(array), array) for array in call.written]
        sources += [
            storage for storage, array in targets if call.partial or array.nbytes < storage.bytes
        ]
        phase, site = self._phase(), current_site()
        count = flops(call.identity or call.function, call.args, read, [*fresh, *call.written])
        self._operator = self._recorder.operator(call.name, phase, site=site, flops=count)
        name = self._recorder.operators[self._operator].name
        for array in fresh:
            self._born(array, name, self._category(), site, self._operator)
        for storage in dict.fromkeys(sources):
            self._event(self._recorder.read, storage, storage.variable)
        for storage, array in targets:
            self._overwrite(storage, array, name, site)

    def _fresh(self, returned: Iterable[np.ndarray], operands: Operands) -> list[np.ndarray]:
        """The results that are in memory of their own, one for each buffer."""
        given = {id(owner_of(array)) for array in operands.original.values()}
        found = {id(owner_of(array)): array for array in returned if type(array) is np.ndarray}
        return [
            array
            for key, array in found.items()
            if key not in given and self.buffers.find(array) is None
        ]

    def _known(self, array: np.ndarray) -> Storage:
        """The storage of an operand; one that nobody watched is added here.

        An array from before tracing began existed before the step: it counts as a parameter.
        """
        storage = self.buffers.find(array)
        if storage is not None:
            return storage
        traceback = tracemalloc.get_object_traceback(owner_of(array))
        if traceback is None:
            return self._born(array, "unwatched", "parameter", "", _NOBODY)
        site = site_of((frame.filename, frame.lineno) for frame in reversed(traceback))
        return self._born(array, "unwatched", self._category(), site, _NOBODY)

    def _born(self, array: np.ndarray, name: str, category: str, site: str, maker: int) -> Storage:
        size = buffer_bytes(owner_of(array))
        storage = self.buffers.add(array, self._variable(name, category, array, size, site))
        self._event(self._recorder.allocate, storage, storage.variable, operator=maker)
        return storage

    def _overwrite(self, storage: Storage, array: np.ndarray, name: str, site: str) -> None:
        """A new value in the buffer; the old one is gone."""
        old = storage.variable
        before = self._recorder.variables[old].category
        lasts = storage.label is not None and before in _LASTING
        storage.label = storage.label if lasts else None
        category = before if lasts else self._category(otherwise=before)
        storage.variable = self._variable(
            storage.label or name, category, array, storage.bytes, site
        )
        self._event(self._recorder.allocate, storage, storage.variable)
        self._event(self._recorder.free, storage, old)

    def _category(self, otherwise: str = "workspace") -> str:
        return CATEGORY_OF_PHASE.get(self._phase(), otherwise)

    def _variable(self, name: str, category: str, array: np.ndarray, size: int, site: str) -> int:
        dtype = str(array.dtype)
        return self._recorder.variable(name, category, array.shape, dtype, size, site=site)

    def settle(self) -> None:
        """Record the deaths since the last event, in their order."""
        with self._lock:
            for storage, at in self.buffers.dead():
                self._event(self._recorder.free, storage, storage.variable, at=at)

    def _event(
        self,
        kind: Callable[..., None],
        storage: Storage,
        variable: int,
        *,
        at: int | None = None,
        operator: int | None = None,
    ) -> None:
        passed = (now() if at is None else at) - self._began
        operator = self._operator if operator is None else operator
        kind(variable, storage.number, storage.bytes, self._phase(), operator, passed)

    def trace(self, about: About) -> Trace:
        """What happened so far."""
        with self._lock:
            self.settle()
            return self._recorder.trace(about)

    def mark(self) -> Mark:
        """This moment, in the trace."""
        with self._lock:
            self.settle()
            return Mark(len(self), now() - self._began)

    def close(self) -> None:
        """Stop recording: watched arrays that live on behave like plain ones."""
        with self._lock:
            self.settle()
            self.closed = True
            self.buffers.forget()
