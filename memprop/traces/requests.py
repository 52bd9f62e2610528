"""What was asked of a device's allocator, and what it makes of it.

A trace has the live bytes of a step. What a GPU runs out of is what its allocator has reserved,
which depends on all requests since the program began, and on their order.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

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
NO_STORAGE = -1
"""The storage of blocks in which no variable of the trace lives."""


@dataclass(frozen=True, eq=False)
class Requests:
    """All requests in order, in int64 arrays of shape ``(requests,)``.

    Attributes:
        block: the number of the block that is asked for, or given back.
        bytes: what is asked for; FREED if it is given back.
        event: the event of the trace with which it goes; BEFORE if it came before the step.
        storage: the number of the trace's storage that lives in the block; NO_STORAGE where none
            does, as in what a kernel or a library takes for itself.
        kept: the blocks that libraries keep for themselves, by name.
    """

    block: np.ndarray
    bytes: np.ndarray
    event: np.ndarray
    storage: np.ndarray
    kept: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def __len__(self) -> int:
        return len(self.block)

    @property
    def kept_bytes(self) -> int:
        """What libraries keep for themselves."""
        of_libraries = np.isin(self.block, list(self.kept.values())) & (self.bytes != FREED)
        return int(self.bytes[of_libraries].sum())


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
    for event, size in _served(allocator, requests, {}):
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


@dataclass(frozen=True, eq=False)
class Segments:
    """What an allocator holds at one moment.

    Attributes:
        views: the segments, in the order in which they were taken.
        blocks: the numbers of the blocks in use, by address.
    """

    views: list[SegmentView]
    blocks: Mapping[int, int]


def segments_at(
    requests: Requests, event: int, settings: AllocatorSettings | None = None
) -> Segments:
    """The segments after an event of the trace."""
    allocator = CachingAllocator(settings)
    until = int(np.searchsorted(requests.event, event, side="right"))
    blocks: dict[int, Block] = {}
    for _ in _served(allocator, requests, blocks, until):
        pass
    owners = {block.address: number for number, block in blocks.items()}
    return Segments(allocator.segments(), owners)


COLUMNS: Final = (
    *("segment", "pool", "segment_bytes", "address", "bytes", "requested_bytes", "state"),
    *("category", "variable"),
)


def segment_table(
    segments: Segments, requests: Requests, named: Mapping[int, tuple[str, str]]
) -> "pd.DataFrame":
    """A row for each block, in :data:`COLUMNS`. Addresses count from the lowest.

    Args:
        segments: at one moment.
        requests: that led to them.
        named: category and name of the variable in each storage of the trace that is alive then.
    """
    import pandas as pd

    lowest = min((one.blocks[0].address for one in segments.views), default=0)
    libraries = {number: ("workspace", name) for name, number in requests.kept.items()}
    storages = dict(zip(requests.block.tolist(), requests.storage.tolist(), strict=True))
    held = {
        address: libraries.get(number) or named.get(storages[number], ("", ""))
        for address, number in segments.blocks.items()
    }
    rows = [
        (
            segment.number,
            "small" if segment.small else "large",
            segment.bytes,
            block.address - lowest,
            block.bytes,
            block.requested,
            "allocated" if block.in_use else "free",
            *held.get(block.address, ("", "")),
        )
        for segment in segments.views
        for block in segment.blocks
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _served(
    allocator: CachingAllocator,
    requests: Requests,
    blocks: dict[int, Block],
    until: int | None = None,
) -> Iterator[tuple[int, int | None]]:
    """Serve requests one by one; yields the event of each, and the bytes of one that fails.

    Args:
        allocator: serves them.
        requests: in order.
        blocks: those that are in use, by number; kept up to date.
        until: how many requests to serve; all if not given.
    """
    columns = (requests.block[:until], requests.bytes[:until], requests.event[:until])
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
