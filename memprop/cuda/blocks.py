"""Blocks of the CUDA allocator, and the free ones in order of their size."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter


@dataclass(eq=False, slots=True)
class Block:
    """A piece of a segment: in use, free, or (in an expandable segment) without memory.

    Attributes:
        address: of its first byte.
        size: its bytes.
        pool: the free blocks among which it is when it is free.
        segment: the number of the segment that it is a piece of.
        previous: the block before it in its segment.
        next: the block after it.
        requested: the bytes that were asked for; 0 if it is free.
        in_use: whether somebody has it.
        mapped: whether there is memory behind its addresses.
        expandable: whether its segment is expandable.
        since: how often its pool had been searched when it became free.
    """

    address: int
    size: int
    pool: "Pool"
    segment: int
    previous: "Block | None" = None
    next: "Block | None" = None
    requested: int = 0
    in_use: bool = False
    mapped: bool = True
    expandable: bool = False
    since: int = 0

    @property
    def end(self) -> int:
        """The address after its last byte."""
        return self.address + self.size

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its segment."""
        return self.previous is None and self.next is None


_ORDER = attrgetter("size", "address")


@dataclass(eq=False)
class Pool:
    """The free blocks for requests of one kind, on one stream.

    Attributes:
        stream: the number of the stream.
        small: whether it serves requests of at most 1 MiB.
        free: its blocks by size and, where sizes are equal, by address.
        unmapped: the blocks without memory of expandable segments, by address.
        searches: how often a block was looked for in it.
    """

    stream: int
    small: bool
    free: list[Block] = field(default_factory=list)
    unmapped: list[Block] = field(default_factory=list)
    searches: int = 0

    def add(self, block: Block) -> None:
        """Put a free block in."""
        block.since = self.searches
        insort(self.free, block, key=_ORDER)

    def remove(self, block: Block) -> None:
        """Take a free block out."""
        del self.free[bisect_left(self.free, _ORDER(block), key=_ORDER)]

    def add_unmapped(self, block: Block) -> None:
        """Put in a block without memory."""
        insort(self.unmapped, block, key=attrgetter("address"))

    def at_least(self, size: int) -> Iterator[Block]:
        """The free blocks of at least so many bytes, the smallest first."""
        first = bisect_left(self.free, (size, 0), key=_ORDER)
        return (self.free[place] for place in range(first, len(self.free)))


def split(block: Block, size: int) -> Block:
    """Cut a block after so many bytes, and return the new one behind it."""
    rest = Block(
        block.address + size,
        block.size - size,
        block.pool,
        block.segment,
        previous=block,
        next=block.next,
        mapped=block.mapped,
        expandable=block.expandable,
    )
    if rest.next is not None:
        rest.next.previous = rest
    block.next = rest
    block.size = size
    return rest


def join(first: Block, second: Block) -> Block:
    """Make one block of two neighbours, in place of the first."""
    first.size += second.size
    first.next = second.next
    if first.next is not None:
        first.next.previous = first
    return first


def first_of(block: Block) -> Block:
    """The first block of a block's segment."""
    while block.previous is not None:
        block = block.previous
    return block


def chain(block: Block | None) -> Iterator[Block]:
    """A block and all after it in its segment."""
    while block is not None:
        yield block
        block = block.next
