"""The floating-point operations of a step, event by event."""

import numpy as np
from torch.utils._python_dispatch import TorchDispatchMode

from memprop.torch.record.flops import flops_of
from memprop.torch.record.ledger import Ledger


class Work(TorchDispatchMode):
    """Counts the FLOPs of every operator that runs: see :mod:`memprop.torch.record.flops`."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger
        self._events: list[int] = []
        self._flops: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.namespace != "prim" and not func.is_view:
            self._events.append(len(self._ledger))
            self._flops.append(flops_of(func, args, kwargs, result))
        return result

    def between(self, begin: int, end: int) -> int:
        """FLOPs of what ran from one event to another."""
        first, last = np.searchsorted(self._events, [begin, end])
        return sum(self._flops[first:last])
