"""The floating-point operations of a step, event by event."""

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from memprop.torch.ledger import Ledger


class Work(TorchDispatchMode):
    """Counts FLOPs: matrix products, convolutions and attention by PyTorch's own formulas.

    Any other operator counts one for each element that it makes.
    """

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
            self._flops.append(_flops(func, args, kwargs, result))
        return result

    def between(self, begin: int, end: int) -> int:
        """FLOPs of what ran from one event to another."""
        first, last = np.searchsorted(self._events, [begin, end])
        return sum(self._flops[first:last])


def _flops(func, args, kwargs, result) -> int:
    formula = flop_registry.get(func._overloadpacket)
    if formula is not None:
        return int(formula(*args, **kwargs, out_val=result))
    return sum(t.numel() for t in tree_leaves(result) if isinstance(t, torch.Tensor))
