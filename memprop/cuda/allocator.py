"""PyTorch's CUDA caching allocator: which segments it takes for which requests.

The rules are those of ``DeviceCachingAllocator`` in c10/cuda/CUDACachingAllocator.cpp (PyTorch
2.11). Each function names the method that it models. Not modelled: private pools of CUDA graphs,
and blocks that several streams use.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from memprop.cuda.blocks import Block, Pool, chain, first_of, join, split
from memprop.cuda.driver import Driver
from memprop.cuda.rounding import round_up
from memprop.cuda.settings import AllocatorSettings
from memprop.errors import MempropError

_MIB: Final = 2**20
_SMALLEST_BLOCK: Final = 512
_SMALL_REQUEST: Final = _MIB
_SMALL_SEGMENT: Final = 2 * _MIB
_LARGE_REQUEST: Final = 10 * _MIB
_LARGE_SEGMENT: Final = 20 * _MIB
_VIRTUAL: Final = 90 * 2**30
"""Addresses of an expandable segment: 9/8 of the memory of a GPU of 80 GiB."""


class OutOfMemory(MempropError):  # noqa: N818 - PyTorch's own is named so
    """A request that does not fit under the limit."""


@dataclass(frozen=True, kw_only=True)
class BlockView:
    """A block as it is at one moment.

    Attributes:
        address: of its first byte.
        bytes: its size.
        requested: the bytes that were asked for; 0 if it is free.
        in_use: whether it is allocated.
    """

    address: int
    bytes: int
    requested: int
    in_use: bool


@dataclass(frozen=True, kw_only=True)
class SegmentView:
    """Memory that was taken from the driver, as it is at one moment.

    Attributes:
        number: which segment, in the order in which they were taken.
        small: whether it is for requests of at most 1 MiB.
        stream: the stream that it serves.
        blocks: its pieces by address; their bytes sum to its size.
    """

    number: int
    small: bool
    stream: int
    blocks: tuple[BlockView, ...]

    @property
    def bytes(self) -> int:
        """Its size."""
        return sum(block.bytes for block in self.blocks)


class CachingAllocator:
    """Serves requests as PyTorch's allocator does.

    Args:
        settings: those of PYTORCH_CUDA_ALLOC_CONF.
        limit: the most bytes that it may reserve, as ``set_per_process_memory_fraction`` sets it;
            ``None`` for no limit.
        driver: gives new segments their addresses.

    Attributes:
        allocated: bytes of the blocks that are in use.
        reserved: bytes that were taken from the driver and not given back.
        allocated_peak: the most that was allocated.
        reserved_peak: the most that was reserved.
        retries: how often unused segments were given back because a new one did not fit.

    >>> allocator = CachingAllocator()
    >>> block = allocator.allocate(3_000_000)
    >>> allocator.allocated, allocator.reserved
    (3000320, 20971520)
    """

    def __init__(
        self,
        settings: AllocatorSettings | None = None,
        *,
        limit: int | None = None,
        driver: Driver | None = None,
    ) -> None:
        self._settings = settings or AllocatorSettings()
        self._limit = limit
        self._driver = driver or Driver()
        self._pools: dict[tuple[int, bool], Pool] = {}
        self._heads: list[Block | None] = []
        """The first block of each segment; ``None`` once it was given back."""
        self.allocated = self.reserved = 0
        self.allocated_peak = self.reserved_peak = 0
        self.retries = 0

    def allocate(self, requested: int, stream: int = 0) -> Block:
        """A block of at least ``requested`` bytes (``malloc``).

        Raises:
            OutOfMemory: there is none, and no further segment may be taken.
        """
        size = self.rounded(requested)
        key = (stream, size <= _SMALL_REQUEST)
        pool = self._pools.setdefault(key, Pool(stream=stream, small=key[1]))
        block = self._found(pool, size) or self._new(pool, size)
        if self._should_split(block, size):
            pool.add(split(block, size))
        block.in_use, block.requested = True, requested
        self.allocated += block.size
        self.allocated_peak = max(self.allocated_peak, self.allocated)
        return block

    def free(self, block: Block) -> None:
        """Take a block back (``free_block``)."""
        self.allocated -= block.size
        block.in_use, block.requested = False, 0
        block.pool.add(_merged(block))

    def empty_cache(self) -> None:
        """Give back all memory that nothing lives in (``release_cached_blocks``)."""
        for pool in self._pools.values():
            for block in list(pool.free):
                if block.expandable:
                    self._unmap(block)
                elif block.is_whole:
                    self._release(block)

    def reset_peaks(self) -> None:
        """Begin the peaks anew, as ``torch.cuda.reset_peak_memory_stats`` does."""
        self.allocated_peak, self.reserved_peak = self.allocated, self.reserved

    def segments(self) -> list[SegmentView]:
        """All segments as they are now, in the order in which they were taken."""
        there = [(number, head) for number, head in enumerate(self._heads) if head is not None]
        views = [_view(number, head) for number, head in there]
        return [view for view in views if view.blocks]

    def rounded(self, requested: int) -> int:
        """The bytes of the block for a request (``round_size``)."""
        if requested < _SMALLEST_BLOCK:
            return _SMALLEST_BLOCK
        by_power = self._settings.roundup_power2_divisions
        # The first of them holds below 2 MiB, the last from 32 GiB on.
        divisions = by_power[min(max(requested.bit_length() - 21, 0), len(by_power) - 1)]
        if divisions > 1 and requested > _SMALLEST_BLOCK * divisions:
            return _next_division(requested, divisions)
        return round_up(requested, _SMALLEST_BLOCK)

    def _found(self, pool: Pool, size: int) -> Block | None:
        """The free block that fits best, taken out (``get_free_block``)."""
        pool.searches += 1
        fitting = pool.at_least(size)
        block = next(fitting, None)
        if block is None:
            return None
        if block.expandable:
            block = _least_room(block, fitting)
        most = self._settings.max_split_size
        if most is not None and size < most <= block.size:
            return None
        most_rounded = size + self._settings.max_non_split_rounding
        if most is not None and size >= most and block.size >= most_rounded:
            return None
        pool.remove(block)
        return block

    def _new(self, pool: Pool, size: int) -> Block:
        """A block from the driver, as ``malloc`` tries to get one in the end."""
        if self._limit is not None and self._settings.garbage_collection_threshold:
            self._collect_garbage(self._limit)
        block = self._grown(pool, size)
        if block is None and self._release_oversize(pool, size):
            block = self._grown(pool, size)
        if block is None:
            self.empty_cache()
            self.retries += 1
            block = self._grown(pool, size)
        if block is None:
            raise OutOfMemory(
                f"{size} bytes do not fit: {self.reserved} of {self._limit} bytes are reserved, of "
                f"which {self.allocated} are allocated"
            )
        return block

    def _grown(self, pool: Pool, size: int) -> Block | None:
        """A free block of memory that is new; ``None`` above the limit (``alloc_block``)."""
        segment = _segment_bytes(size)
        if self._limit is not None and self.reserved + segment > self._limit:
            return None
        if self._settings.expandable_segments:
            return self._expanded(pool, size)
        self._reserve(segment)
        return self._segment(pool, segment)

    def _segment(self, pool: Pool, size: int, *, expandable: bool = False) -> Block:
        block = Block(self._driver.take(size), size, pool, len(self._heads), expandable=expandable)
        self._heads.append(block)
        return block

    def _reserve(self, size: int) -> None:
        self.reserved += size
        self.reserved_peak = max(self.reserved_peak, self.reserved)

    def _release(self, block: Block) -> None:
        """Give a segment back to the driver (``release_block``)."""
        block.pool.remove(block)
        self._heads[block.segment] = None
        self._driver.give_back(block.address, block.size)
        self.reserved -= block.size

    def _should_split(self, block: Block, size: int) -> bool:
        """Whether what a request leaves of a block becomes a block (``should_split``)."""
        rest = block.size - size
        if block.pool.small or self._settings.expandable_segments:
            return rest >= _SMALLEST_BLOCK
        most = self._settings.max_split_size
        return (most is None or size < most) and rest > _SMALL_REQUEST

    def _release_oversize(self, pool: Pool, size: int) -> bool:
        """Give back blocks that are never split, until enough is free.

        That is ``release_available_cached_blocks``.
        """
        most = self._settings.max_split_size
        if most is None:
            return False
        wanted = max(size, most)
        block = next(pool.at_least(wanted), None)
        if block is not None and not block.expandable:
            self._release(block)
            return True
        released = 0
        for block in [one for one in reversed(pool.free) if one.size >= most]:
            if released >= wanted:
                break
            if not block.expandable:
                released += block.size
                self._release(block)
        return released >= wanted

    def _collect_garbage(self, limit: int) -> None:
        """Give back unused segments above the threshold, those first that are unused longest.

        That is ``garbage_collect_cached_blocks``.
        """
        target = self.reserved - int(self._settings.garbage_collection_threshold * limit)
        reclaimed = 0
        while reclaimed < target:
            large = [pool for pool in self._pools.values() if not pool.small]
            idle = [one for pool in large for one in pool.free if one.is_whole]
            if not idle:
                return
            mean = sum(map(_age, idle)) / len(idle)
            old = [block for block in idle if _age(block) >= mean and not block.expandable]
            if not old:
                return
            for block in old:
                reclaimed += block.size
                self._release(block)

    def _expanded(self, pool: Pool, size: int) -> Block:
        """A free block at the growing end of a segment (``try_allocate_expandable_block``)."""
        block = self._expandable(pool, size)
        if not block.mapped:
            block = self._map(block, min(block.size, size))
        while block.size < size and (rest := block.next) is not None:
            block = self._map(rest, min(size - block.size, rest.size))
        pool.remove(block)
        return block

    def _expandable(self, pool: Pool, size: int) -> Block:
        """Where a segment may grow by ``size`` bytes (``find_expandable_block``)."""
        for block in pool.unmapped:
            before = block.previous
            first = block if before is None or before.in_use else before
            if _room(first) >= size:
                return first
        block = self._segment(pool, _VIRTUAL, expandable=True)
        block.mapped = False
        pool.add_unmapped(block)
        return block

    def _map(self, block: Block, size: int) -> Block:
        """Put memory behind the first bytes of a block that has none (``map_block``)."""
        mapped = round_up(size, _page(block.pool))
        block.pool.unmapped.remove(block)
        if mapped < block.size:
            block.pool.add_unmapped(split(block, mapped))
        block.mapped = True
        self._reserve(mapped)
        block = _merged(block)
        block.pool.add(block)
        return block

    def _unmap(self, block: Block) -> None:
        """Take the memory from behind a free block, in whole pages (``unmap_block``)."""
        page = _page(block.pool)
        start = first_of(block).address
        begin = start + round_up(block.address - start, page)
        end = start + (block.end - start) // page * page
        if end <= begin:
            return
        pool = block.pool
        pool.remove(block)
        if end < block.end:
            pool.add(split(block, end - block.address))
        if begin > block.address:
            rest = split(block, begin - block.address)
            pool.add(block)
            block = rest
        block.mapped = False
        self.reserved -= block.size
        for one in (block.previous, block.next):
            if one is not None and not one.mapped:
                pool.unmapped.remove(one)
        pool.add_unmapped(_merged(block))


def _view(number: int, head: Block) -> SegmentView:
    blocks = (
        BlockView(
            address=block.address,
            bytes=block.size,
            requested=block.requested,
            in_use=block.in_use,
        )
        for block in chain(head)
        if block.mapped
    )
    pool = head.pool
    return SegmentView(number=number, small=pool.small, stream=pool.stream, blocks=tuple(blocks))


def _merged(block: Block) -> Block:
    """A free block with its free neighbours, which leave their pool (``try_merge_blocks``)."""
    for before in (True, False):
        other = block.previous if before else block.next
        if other is None or other.in_use or other.mapped != block.mapped:
            continue
        if other.mapped:
            other.pool.remove(other)
        block = join(other, block) if before else join(block, other)
    return block


def _room(block: Block | None) -> int:
    """Bytes of a free or unmapped block and of those after it, up to one that is in use."""
    room = 0
    while block is not None and not block.in_use:
        room += block.size
        block = block.next
    return room


def _least_room(block: Block, larger: Iterator[Block]) -> Block:
    """Of free blocks in order of their sizes the first that can grow less than the next one."""
    for other in larger:
        if _growing(other) >= _growing(block):
            break
        block = other
    return block


def _growing(block: Block) -> int:
    """The bytes to which a block of an expandable segment can grow."""
    after = block.next
    return block.size + (after.size if after is not None and not after.mapped else 0)


def _page(pool: Pool) -> int:
    """The bytes in which an expandable segment grows."""
    return _SMALL_SEGMENT if pool.small else _LARGE_SEGMENT


def _age(block: Block) -> int:
    """How often its pool was searched since a block became free."""
    return block.pool.searches - block.since


def _segment_bytes(size: int) -> int:
    """The bytes of a new segment for a request (``get_allocation_size``)."""
    if size <= _SMALL_REQUEST:
        return _SMALL_SEGMENT
    if size < _LARGE_REQUEST:
        return _LARGE_SEGMENT
    return round_up(size, _SMALL_SEGMENT)


def _next_division(size: int, divisions: int) -> int:
    """The next of so many steps from one power of two to the next.

    That is ``roundup_power2_next_division``.
    """
    if size & (size - 1) == 0:
        return size
    power = 1 << (size.bit_length() - 1)
    step = power // divisions
    return 2 * power if step == 0 else round_up(size, step)
