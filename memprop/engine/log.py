"""What only a run can tell of a program: the bytes it was given and the time it took.

The order of events is the program's own; a run adds the size of every allocation and two times per
instruction. They go into arrays of machine integers made beforehand, so that keeping the ledger
costs next to no time and not one byte while the step runs.
"""

from array import array
from dataclasses import dataclass
from itertools import chain

import numpy as np

from memprop.engine.program import Instruction, Program
from memprop.traces.events import ALLOCATE, FREE, READ, Events


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
        births = sum(len(instruction.births) for instruction in program.instructions)
        count = len(program.instructions)
        return cls(*(array("q", bytes(8 * length)) for length in (births, count, count)))

    def events(self, program: Program) -> Events:
        """The events of a run of ``program`` that filled this log."""
        rows = chain.from_iterable(
            _static_events(place, instruction)
            for place, instruction in enumerate(program.instructions)
        )
        columns = np.array(list(rows), dtype=np.int64).T
        kind, phase, operator, variable, storage, place = np.ascontiguousarray(columns)
        births = kind == ALLOCATE
        sizes = np.zeros(storage.max() + 1, dtype=np.int64)
        sizes[storage[births]] = self.sizes
        begins, ends = (np.array(times, dtype=np.int64) for times in (self.begins, self.ends))
        nanoseconds = np.where(births, begins[place], ends[place])
        return Events(kind, phase, operator, variable, storage, sizes[storage], nanoseconds)


def _static_events(place: int, instruction: Instruction) -> list[tuple[int, ...]]:
    """Kind, phase, operator, variable, storage and instruction of each event, in order."""
    phase, operator = instruction.phase, instruction.operator
    return [
        *((ALLOCATE, phase, operator, v, storage, place) for v, storage, _ in instruction.births),
        *((READ, phase, operator, v, storage, place) for v, storage in instruction.reads),
        *((FREE, phase, operator, v, storage, place) for v, storage in instruction.deaths),
    ]
