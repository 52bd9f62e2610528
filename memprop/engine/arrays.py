"""The backends with NumPy arrays.

``Heap`` gives every storage a buffer of its own and really frees it when the schedule says so.
``Arena`` lays all storages into one buffer, at offsets planned beforehand, so that a step that
runs many times touches no fresh page.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from memprop.engine.offsets import plan_offsets
from memprop.engine.program import Instruction, Program
from memprop.graph.graph import Variable
from memprop.terms import PERSISTENT


class Arrays(ABC):
    """What both have in common: a value for every live variable, and kernels that run on them.

    Args:
        program: what will be run.
        batch: the batch size.
        persistent: the arrays that outlive the step, parameters and optimizer state, by name.
    """

    def __init__(self, program: Program, batch: int, persistent: Mapping[str, np.ndarray]) -> None:
        variables = program.schedule.graph.variables
        self.variables: tuple[Variable, ...] = variables
        self.specs = [(v.shape_at(batch), np.dtype(v.dtype)) for v in variables]
        self._values: list[np.ndarray | None] = [None] * len(variables)
        self._persistent = persistent
        self._inputs: Mapping[str, np.ndarray] = {}
        self._sources = frozenset(birth.variable for birth in program.instructions[0].births)
        self._begin = 0

    def begin(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Make ready for a step on ``inputs``, which are copied when the step begins."""
        self._inputs = inputs
        self._begin = time.perf_counter_ns()

    def allocate(self, variable: int, storage: int, over: int) -> int:
        """Give ``variable`` an array; returns its bytes as NumPy has them."""
        if over >= 0:
            array = self._values[over]
            assert array is not None  # noqa: S101 - schedules are checked before they run
        elif variable in self._sources:
            array = self._source(variable, storage)
        else:
            array = self._new(variable, storage)
        self._values[variable] = array
        return array.nbytes

    def _source(self, variable: int, storage: int) -> np.ndarray:
        described = self.variables[variable]
        if described.category in PERSISTENT:
            return self._persistent[described.name]
        array = self._new(variable, storage)
        np.copyto(array, self._inputs[described.name], casting="same_kind")
        return array

    @abstractmethod
    def _new(self, variable: int, storage: int) -> np.ndarray:
        """An array for ``variable`` whose content does not matter."""

    def compute(self, instruction: Instruction) -> None:
        """Run the instruction's kernel on the arrays it names."""
        assert instruction.kernel is not None  # noqa: S101 - else there is nothing to compute
        arrays = [self._values[argument] for argument in instruction.arguments]
        instruction.kernel(*arrays, **instruction.attributes)

    def free(self, variable: int) -> None:
        """Let go of the variable's array."""
        self._values[variable] = None

    def values(self, names: Mapping[str, int]) -> dict[str, np.ndarray]:
        """The arrays of live variables by name, given their numbers."""
        found = {name: self._values[variable] for name, variable in names.items()}
        return {name: array for name, array in found.items() if array is not None}

    def clear(self) -> None:
        """Let go of every array."""
        self._values = [None] * len(self._values)
        self._inputs = {}

    def clock(self) -> int:
        """Nanoseconds since :meth:`begin`."""
        return time.perf_counter_ns() - self._begin


class Heap(Arrays):
    """Every storage a fresh buffer, released when the last variable in it is freed."""

    def _new(self, variable: int, storage: int) -> np.ndarray:  # noqa: ARG002
        return np.empty(*self.specs[variable])


class Arena(Arrays):
    """All storages of a step in one buffer; a result stays valid until the next step runs.

    Attributes:
        nbytes: the size of the buffer.
    """

    def __init__(self, program: Program, batch: int, persistent: Mapping[str, np.ndarray]) -> None:
        super().__init__(program, batch, persistent)
        placement = plan_offsets(program, [v.nbytes.at(batch) for v in self.variables])
        self.nbytes = placement.nbytes
        self._buffer = np.empty(placement.nbytes, dtype=np.uint8)
        self._views = {
            (variable, storage): self._view(variable, offset)
            for (variable, storage), offset in placement.offsets.items()
        }

    def _view(self, variable: int, offset: int) -> np.ndarray:
        shape, dtype = self.specs[variable]
        end = offset + dtype.itemsize * math.prod(shape)
        return self._buffer[offset:end].view(dtype).reshape(shape)

    def _new(self, variable: int, storage: int) -> np.ndarray:
        return self._views[variable, storage]
