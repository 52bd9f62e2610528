"""Where the arrays of a step live.

``Heap`` gives every storage a buffer of its own and really frees it when the schedule says so.
``Arena`` lays all storages into one buffer, at offsets planned beforehand, so that a step that
runs many times touches no fresh page, and binds every kernel to its arrays once, so that a step is
a loop over calls that are ready to be made.

Both put what the schedule stores into files.
"""

import math
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from memprop.engine.disk import Disk
from memprop.engine.offsets import ALIGNMENT, plan_offsets
from memprop.engine.order import LOADS, STORES
from memprop.engine.program import Birth, Instruction, Program, Use
from memprop.engine.run import Prepared, make
from memprop.graph.graph import Variable
from memprop.graph.rules import Call
from memprop.terms import PERSISTENT


class Arrays(ABC):
    """What both have in common: a value for every live variable.

    Args:
        program: what will be run.
        batch: the batch size.
        persistent: the arrays that outlive the step, parameters and optimizer state, by name.

    Attributes:
        sizes: bytes of the array of each variable that is born, in order, as NumPy has them; of a
            copy on disk those of the array that is written there.
        prepared: what to run.
    """

    prepared: Sequence[Prepared]

    def __init__(self, program: Program, batch: int, persistent: Mapping[str, np.ndarray]) -> None:
        variables = program.schedule.graph.variables
        self.variables: tuple[Variable, ...] = variables
        self.specs = [(v.shape_at(batch), np.dtype(v.dtype)) for v in variables]
        self.sizes = array("q", bytes(8 * sum(len(i.births) for i in program.instructions)))
        self._copied: list[int] = program.order.copies.tolist()
        folder = program.schedule.folder
        self._disk = Disk(folder) if folder is not None and self._copied else None
        self._values: list[np.ndarray | None] = [None] * (len(variables) + len(self._copied))
        self._persistent = persistent
        self._inputs: Mapping[str, np.ndarray] = {}
        names = program.schedule.graph.outputs
        self._outputs = [number for number, v in enumerate(variables) if v.name in names]

    def begin(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Make ready for a step on ``inputs``, which are copied when the step begins.

        Raises:
            OutputError: the step stores variables in a folder that cannot be written to.
        """
        self._inputs = inputs
        if self._disk is not None:
            self._disk.begin()

    def _give_birth(self, births: Iterable[Birth], first: int) -> None:
        """Give each newborn variable its array; ``first`` is how many were born before."""
        for number, (variable, storage, over) in enumerate(births, start=first):
            if variable >= len(self.variables):
                self.sizes[number] = self._held(self._copied[variable - len(self.variables)]).nbytes
                continue
            given = self._values[over] if over >= 0 else self._fresh(variable, storage)
            assert given is not None  # noqa: S101 - schedules are checked before they run
            if over >= 0 and given.shape != self.specs[variable][0]:
                given = given.reshape(self.specs[variable][0])
            self._values[variable] = given
            self.sizes[number] = given.nbytes

    def _free(self, deaths: Iterable[Use]) -> None:
        """Let go of the arrays of variables that die."""
        for death in deaths:
            self._values[death.variable] = None

    def _fresh(self, variable: int, storage: int) -> np.ndarray:
        described = self.variables[variable]
        if described.category in PERSISTENT:
            return self._persistent[described.name]
        return self._new(variable, storage)

    @abstractmethod
    def _new(self, variable: int, storage: int) -> np.ndarray:
        """An array for ``variable`` whose content does not matter."""

    def _calls(self, instruction: Instruction) -> Iterable[Call]:
        """The calls that compute ``instruction`` on the arrays that live now."""
        if instruction.operator < 0:
            return self._copies(instruction)
        if instruction.does in (STORES, LOADS):
            return self._transfer(instruction)
        if instruction.kernel is None:
            return ()
        arrays = [self._values[argument] for argument in instruction.arguments]
        return instruction.kernel(*arrays, **instruction.attributes)

    def _transfer(self, instruction: Instruction) -> Iterable[Call]:
        """What brings a variable to disk, or back from there."""
        assert self._disk is not None  # noqa: S101 - schedules are checked before they run
        (birth,), (read,) = instruction.births, instruction.reads
        if instruction.does == STORES:
            return (partial(self._disk.write, birth.variable, self._held(read.variable)),)
        return (partial(self._disk.read, read.variable, self._held(birth.variable)),)

    def _held(self, variable: int) -> np.ndarray:
        array = self._values[variable]
        assert array is not None  # noqa: S101 - schedules are checked before they run
        return array

    def _copies(self, instruction: Instruction) -> Iterable[Call]:
        """What brings the step's inputs into the arrays of those that are born here."""
        for variable in (birth.variable for birth in instruction.births):
            if self.variables[variable].category not in PERSISTENT:
                yield partial(self._copy, self.variables[variable].name, self._held(variable))

    def _copy(self, name: str, to: np.ndarray) -> None:
        np.copyto(to, self._inputs[name], casting="same_kind")

    def outputs(self) -> Mapping[str, np.ndarray]:
        """What the graph puts out, by name, after the step has run."""
        found = {self.variables[number].name: self._values[number] for number in self._outputs}
        return {name: array for name, array in found.items() if array is not None}

    def clear(self) -> None:
        """Let go of what belongs to the step that ran, its files too."""
        self._inputs = {}
        if self._disk is not None:
            self._disk.end()


class Heap(Arrays):
    """Every storage a fresh buffer, released when the last variable in it is freed."""

    def __init__(self, program: Program, batch: int, persistent: Mapping[str, np.ndarray]) -> None:
        super().__init__(program, batch, persistent)
        self.prepared = [
            (place, (partial(self._do, instruction, born),))
            for place, born, instruction in _numbered(program)
        ]

    def _do(self, instruction: Instruction, born: int) -> None:
        self._give_birth(instruction.births, born)
        make(self._calls(instruction))
        self._free(instruction.deaths)

    def _new(self, variable: int, storage: int) -> np.ndarray:  # noqa: ARG002
        return np.empty(*self.specs[variable])

    def clear(self) -> None:
        """Let go of every array, also after a step that failed in the middle."""
        super().clear()
        self._values = [None] * len(self._values)


class Arena(Arrays):
    """All storages of a step in one buffer; a result stays valid until the next step runs.

    Attributes:
        nbytes: the size of the buffer.
    """

    def __init__(self, program: Program, batch: int, persistent: Mapping[str, np.ndarray]) -> None:
        super().__init__(program, batch, persistent)
        placement = plan_offsets(program, [v.nbytes.at(batch) for v in self.variables])
        self.nbytes = placement.nbytes
        self._offsets = placement.offsets
        self._buffer = _aligned(placement.nbytes)
        self.prepared = []
        for place, born, instruction in _numbered(program):
            self._give_birth(instruction.births, born)
            if calls := tuple(self._calls(instruction)):
                self.prepared.append((place, calls))
            self._free(instruction.deaths)
        self._results = super().outputs()

    def _new(self, variable: int, storage: int) -> np.ndarray:
        shape, dtype = self.specs[variable]
        offset = self._offsets[variable, storage]
        end = offset + dtype.itemsize * math.prod(shape)
        return self._buffer[offset:end].view(dtype).reshape(shape)

    def outputs(self) -> Mapping[str, np.ndarray]:
        """What the graph puts out, by name: the same arrays after every step."""
        return self._results


def _numbered(program: Program) -> Iterator[tuple[int, int, Instruction]]:
    """Each instruction with its place, and with how many variables were born before it."""
    born = 0
    for place, instruction in enumerate(program.instructions):
        yield place, born, instruction
        born += len(instruction.births)


def _aligned(nbytes: int) -> np.ndarray:
    """A buffer that begins where a cache line does: malloc's own begin 16 bytes behind one.

    Vectors then never straddle two lines: a step of 4 layers of 128 units takes 3 % less.
    """
    buffer = np.empty(nbytes + ALIGNMENT, dtype=np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + nbytes]
