"""What lives at one event: every buffer, and whose it is."""

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memprop.traces.events import ALLOCATE, FREE

if TYPE_CHECKING:
    from memprop.traces.trace import Trace


@dataclass(frozen=True, slots=True)
class Buffer:
    """A storage that is alive.

    Attributes:
        variable: the oldest of the variables that live in it, as an index in the trace; its
            category is the one that the bytes count for.
        bytes: its size.
        born: the event at which that variable came to life.
    """

    variable: int
    bytes: int
    born: int


def alive(trace: "Trace", event: int) -> list[Buffer]:
    """The buffers that live after ``event``, by birth; their bytes sum to the live bytes."""
    events, upto = trace.events, event + 1
    columns = (events.kind[:upto], events.variable[:upto], events.storage[:upto])
    holders: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for number, (kind, variable, storage) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        if kind == ALLOCATE:
            holders[storage][variable] = number
        elif kind == FREE:
            del holders[storage][variable]
    oldest = [next(iter(inside.items())) for inside in holders.values() if inside]
    sizes = events.bytes
    return [Buffer(variable, int(sizes[born]), born) for variable, born in oldest]
