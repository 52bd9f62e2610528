"""Gradients of a value with several uses, added up as a step that nobody watches adds them.

Autograd's engine adds a further gradient to the first in place if nothing else holds the first.
While a dispatch mode is active it does not: it cannot know what the mode would make of it
(``can_accumulate_inplace`` in torch/csrc/autograd/input_buffer.cpp). A ledger of what was seen
would have a buffer too many for each such sum.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from memprop.traces.events import FREE, READ
from memprop.traces.trace import Trace


def is_sum(func: Any, operands: list[torch.Tensor]) -> bool:
    """Whether an operator may be the engine's: it adds to a dense tensor one of the same kind."""
    if func is not torch.ops.aten.add.Tensor or len(operands) != 2:
        return False
    first, second = operands
    if first._is_view():  # it holds its base, which holds the storage as well
        return False
    dense = first.numel() * first.element_size() == first.untyped_storage().nbytes()
    return dense and first.shape == second.shape and first.dtype == second.dtype


def sums_in_place(trace: Trace, sums: Iterable[int]) -> list[tuple[int, int]]:
    """The storage of each sum that is made in place, with that of its first operand.

    Args:
        trace: what was seen.
        sums: the events that allocate a sum. Where the next events are not the reads of both
            operands and the death of the first, something else holds it, and the sum has a buffer
            of its own.
    """
    kind, storage = trace.events.kind, trace.events.storage
    return [
        (int(storage[event]), int(storage[event + 1]))
        for event in sums
        if kind[event + 1 : event + 4].tolist() == [READ, READ, FREE]
        and storage[event + 1] == storage[event + 3]
    ]


def in_place(trace: Trace, same: Iterable[tuple[int, int]]) -> Trace:
    """The trace with each sum in the buffer of its first operand, by :func:`sums_in_place`."""
    events = trace.events
    home = np.arange(int(events.storage.max()) + 1)
    for result, operand in same:
        home[result] = home[operand]
    return replace(trace, events=replace(events, storage=home[events.storage]))
