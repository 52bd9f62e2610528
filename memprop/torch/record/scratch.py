"""What a kernel takes for itself while it runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from memprop.torch.record.requests import RequestLog


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """The buffers of one call of a kernel, which live beside its results.

    Attributes:
        stages: bytes of the buffers of each part of the call, in the order in which they are
            allocated; those of a part are released when it ends.
        guessed: whether the sizes are fitted to measurements, and not known from a source.
        kept: libraries, each with the bytes of a buffer that it takes in its first call in each
            thread, and keeps from then on.
        last_first: whether the kernel allocates its results in reverse order.
        late: how many of its results, the last ones, it allocates only after the first part.
        while_used: whether that is before the buffers of the first part are released.
        unknown: whether nothing is known of the kernel, so that none is counted.
    """

    stages: tuple[tuple[int, ...], ...] = ()
    guessed: bool = False
    kept: tuple[tuple[str, int], ...] = ()
    last_first: bool = False
    late: int = 0
    while_used: bool = False
    unknown: bool = False


NO_SCRATCH: Final = Scratch()
"""That of most kernels."""
UNKNOWN_SCRATCH: Final = Scratch(unknown=True)


@dataclass(frozen=True, kw_only=True)
class Pretence:
    """The device that a simulated step pretends to run on.

    Attributes:
        device: its name, as "cuda:0".
        gpu: which GPU, as "h100".
        scratch: what a kernel takes there for itself: called with the operator, its arguments by
            place and by name, and what it returned.
        host_of: where on the host a tensor is, "cpu" or "pinned"; ``None`` if it is on that device.
        log: what is asked of the device's allocator.
    """

    device: str
    gpu: str
    scratch: Callable[[Any, Any, dict[str, Any], Any], Scratch]
    host_of: Callable[[torch.Tensor], str | None]
    log: RequestLog = field(default_factory=RequestLog)
