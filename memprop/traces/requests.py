"""What was asked of a device's allocator, and what it makes of it.

A trace has the live bytes of a step. What a GPU runs out of is what its allocator has reserved,
which depends on all requests since the program began, and on their order.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from memprop.cuda.allocator import CachingAllocator, OutOfMemory, SegmentView
from memprop.cuda.blocks import Block
from memprop.cuda.settings import AllocatorSettings
from memprop.errors import TraceFormatError

if TYPE_CHECKING:
    import pandas as pd

FREED = -1
"""The bytes of a request that gives a block back."""
BEFORE = -1
"""The event of requests that were made before the step."""


@dataclass(frozen=True, eq=False)
class Requests:
    """All requests in order, in int64 arrays of shape ``(requests,)``.

    Attributes:
        block: the number of the block that is asked for, or given back.
        bytes: what is asked for; FREED if it is given back.
        event: the event of the trace with which it goes; BEFORE if it came before the step.
        kept: the bytes of those blocks that libraries keep for themselves, by name.
    """

    block: np.ndarray
    bytes: np.ndarray
    event: np.ndarray
    kept: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def __len__(self) -> int:
        return len(self.block)


def check_requests(requests: Requests, events: int) -> None:
    """Raise TraceFormatError unless requests belong to a trace of so many events."""
    alive: set[int] = set()
    last = BEFORE
    columns = (requests.block, requests.bytes, requests.event)
    for place, (block, size, event) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        if not last <= event < events:
            raise TraceFormatError(f"request {place} goes with the impossible event {event}")
        if size < FREED or (size == FREED) != (block in alive):
            raise TraceFormatError(f"request {place} asks for the impossible: {size} bytes")
        last = event
        alive.symmetric_difference_update({block})


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """What an allocator does with the requests of a step and of all before it.

    Attributes:
        allocated: bytes of the blocks in use, at most, at each event; shape ``(events,)``.
        reserved: bytes taken from the device, at most, at each event.
        before: bytes allocated and reserved when the step began.
        retries: how often unused segments were given back to make room for others.
        failed_at: the event at which a request did not fit; BEFORE if that was before the step,
            ``None`` if all fit.
        failed_bytes: what was asked for there.
    """

    allocated: np.ndarray
    reserved: np.ndarray
    before: tuple[int, int]
    retries: int
    failed_at: int | None = None
    failed_bytes: int = 0

    @property
    def allocated_peak(self) -> int:
        """The most bytes of blocks in use in the step, as ``torch.cuda.max_memory_allocated``."""
        return max(self.before[0], int(self.allocated.max(initial=0)))

    @property
    def reserved_peak(self) -> int:
        """The most bytes reserved in the step, as ``torch.cuda.max_memory_reserved``."""
        return max(self.before[1], int(self.reserved.max(initial=0)))

    @property
    def fits(self) -> bool:
        """Whether every request was served."""
        return self.failed_at is None


def replay(
    requests: Requests,
    events: int,
    settings: AllocatorSettings | None = None,
    limit: int | None = None,
) -> Replay:
    """Let a model of PyTorch's CUDA allocator serve the requests.

    Args:
        requests: from the making of the model to the end of the step.
        events: how many events the trace has.
        settings: of the allocator.
        limit: bytes that it may reserve.
    """
    allocator = CachingAllocator(settings, limit=limit)
    most = np.full((events, 2), -1, dtype=np.int64)
    level = np.zeros((events + 1, 2), dtype=np.int64)  # the first one is before the step
    failed = None
    for event, size in _served(allocator, requests):
        if size is not None:
            failed = event, size
            break
        level[event + 1] = allocator.allocated, allocator.reserved
        if event != BEFORE:
            most[event] = np.maximum(most[event], level[event + 1])
    asked = np.flatnonzero(most[:, 0] >= 0) + 1
    latest = np.zeros(events + 1, dtype=np.int64)
    latest[asked] = asked
    unasked = level[np.maximum.accumulate(latest)][1:]
    most = np.where(most < 0, unasked, most)
    return Replay(
        allocated=most[:, 0],
        reserved=most[:, 1],
        before=(int(level[0, 0]), int(level[0, 1])),
        retries=allocator.retries,
        failed_at=None if failed is None else failed[0],
        failed_bytes=0 if failed is None else failed[1],
    )


def segments_at(
    requests: Requests, event: int, settings: AllocatorSettings | None = None
) -> list[SegmentView]:
    """The segments after an event of the trace, in the order in which they were taken."""
    allocator = CachingAllocator(settings)
    until = int(np.searchsorted(requests.event, event, side="right"))
    first = replace(
        requests,
        block=requests.block[:until],
        bytes=requests.bytes[:until],
        event=requests.event[:until],
    )
    for _ in _served(allocator, first):
        pass
    return allocator.segments()


def segment_table(segments: list[SegmentView]) -> "pd.DataFrame":
    """A row for each block: segment, pool, address and bytes of both, what was asked for, state.

    Addresses count from the lowest.
    """
    import pandas as pd

    lowest = min((one.blocks[0].address for one in segments), default=0)
    return pd.DataFrame(
        [
            {
                "segment": segment.number,
                "pool": "small" if segment.small else "large",
                "segment_bytes": segment.bytes,
                "address": block.address - lowest,
                "bytes": block.bytes,
                "requested_bytes": block.requested,
                "state": "allocated" if block.in_use else "free",
            }
            for segment in segments
            for block in segment.blocks
        ],
        columns=[
            "segment",
            "pool",
            "segment_bytes",
            "address",
            "bytes",
            "requested_bytes",
            "state",
        ],
    )


def _served(allocator: CachingAllocator, requests: Requests) -> Iterator[tuple[int, int | None]]:
    """Serve requests one by one; yields the event of each, and the bytes of one that fails."""
    blocks: dict[int, Block] = {}
    columns = (requests.block, requests.bytes, requests.event)
    for number, size, event in zip(*(column.tolist() for column in columns), strict=True):
        failed = None
        if size == FREED:
            allocator.free(blocks.pop(number))
        else:
            try:
                blocks[number] = allocator.allocate(size)
            except OutOfMemory:
                failed = size
        yield event, failed
