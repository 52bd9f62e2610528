"""What only a run can tell of a program: the bytes it was given and the time it took.

The order of events is the program's own; a run adds the size of every allocation and two times per
instruction. They go into arrays of machine integers made beforehand, so that keeping the ledger
costs next to no time and not one byte while the step runs.
"""

from array import array
from dataclasses import dataclass

import numpy as np

from memprop.engine.program import Program
from memprop.traces.events import ALLOCATE, Events


@dataclass(frozen=True, slots=True)
class Log:
    """Room for one run.

    Attributes:
        sizes: bytes of the storage of each variable that is born, in order.
        begins: nanoseconds at which each instruction begins; its births happen then.
        ends: nanoseconds at which its kernel is done; its reads and deaths happen then.
    """

    sizes: array
    begins: array
    ends: array

    @classmethod
    def for_program(cls, program: Program) -> "Log":
        """An empty log with room for everything that ``program`` does."""
        count = len(program.order.instructions)
        births = np.count_nonzero(program.order.kind == ALLOCATE)
        return cls(*(array("q", bytes(8 * length)) for length in (births, count, count)))

    def events(self, program: Program) -> Events:
        """The events of a run of ``program`` that filled this log."""
        order = program.order
        births = order.kind == ALLOCATE
        sizes = np.zeros(order.storage.max() + 1, dtype=np.int64)
        sizes[order.storage[births]] = self.sizes
        begins, ends = (np.array(times, dtype=np.int64) for times in (self.begins, self.ends))
        return Events(
            kind=order.kind,
            phase=order.phase,
            operator=order.operator,
            variable=order.variable,
            storage=order.storage,
            bytes=sizes[order.storage],
            nanoseconds=np.where(births, begins[order.place], ends[order.place]),
        )
