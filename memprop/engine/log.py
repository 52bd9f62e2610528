"""What only a run can tell of a program: the bytes it was given and the time it took.

The order of events is the program's own; a run adds the size of every allocation and one time per
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
        ends: nanoseconds after the begin of the run at which each instruction is done; -1 for one
            that takes no time, as nothing is run for it. Each begins where the one before ends:
            then its births happen, and at its end its reads and deaths.
    """

    sizes: array
    ends: array

    @classmethod
    def for_program(cls, program: Program, sizes: array) -> "Log":
        """A log without times of ``program``, whose newborn variables have ``sizes``."""
        return cls(sizes, array("q", [-1]) * len(program.order.instructions))

    def events(self, program: Program) -> Events:
        """The events of a run of ``program`` that filled this log."""
        order = program.order
        births = order.kind == ALLOCATE
        sizes = np.zeros(order.storage.max() + 1, dtype=np.int64)
        sizes[order.storage[births]] = self.sizes
        begins, ends = self._times()
        return Events(
            kind=order.kind,
            phase=order.phase,
            operator=order.operator,
            variable=order.variable,
            storage=order.storage,
            bytes=sizes[order.storage],
            nanoseconds=np.where(births, begins[order.place], ends[order.place]),
        )

    def _times(self) -> tuple[np.ndarray, np.ndarray]:
        """When each instruction begins and ends; -1 throughout where nothing was run."""
        noted = np.array(self.ends, dtype=np.int64)
        start = 0 if noted.max() >= 0 else -1
        ends = np.maximum.accumulate(np.maximum(noted, start))
        return np.concatenate(([start], ends[:-1])), ends
