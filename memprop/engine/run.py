"""The one loop that runs a program, on arrays or on shapes alone, and records what happens."""

from collections.abc import Callable
from typing import Protocol

from memprop.engine.program import Instruction, Program
from memprop.terms import PHASES
from memprop.traces.events import ALLOCATE, FREE, READ

Row = tuple[int, int, int, int, int, int, int]
"""The fields of a :class:`memprop.traces.events.Event`, as a plain tuple because that is faster."""

Recorder = Callable[[Row], object]

_SETUP = PHASES.index("setup")


class Backend(Protocol):
    """Where variables live; each is named by its number in the program's graph."""

    def allocate(self, variable: int, storage: int, over: int) -> int:
        """Give ``variable`` a new storage, or that of ``over``; returns the storage's bytes."""
        ...

    def compute(self, instruction: Instruction) -> None:
        """Run the instruction's kernel."""
        ...

    def free(self, variable: int) -> None:
        """Let go of ``variable``."""
        ...

    def clock(self) -> int:
        """Nanoseconds since the step began; -1 where nothing is run."""
        ...


def run(program: Program, backend: Backend, record: Recorder | None = None) -> None:
    """Do everything that ``program`` says, in order, and hand each event to ``record``.

    The results are in ``backend`` afterwards.
    """
    setup = Instruction(_SETUP, -1, births=program.sources)
    if record is None:
        for instruction in (setup, *program.instructions):
            _do(instruction, backend)
    else:
        sizes: dict[int, int] = {}
        for instruction in (setup, *program.instructions):
            _do_and_record(instruction, backend, record, sizes)


def _do(instruction: Instruction, backend: Backend) -> None:
    for birth in instruction.births:
        backend.allocate(*birth)
    if instruction.kernel is not None:
        backend.compute(instruction)
    for death in instruction.deaths:
        backend.free(death.variable)


def _do_and_record(
    instruction: Instruction, backend: Backend, record: Recorder, sizes: dict[int, int]
) -> None:
    phase, operator = instruction.phase, instruction.operator
    begin = backend.clock()
    for variable, storage, over in instruction.births:
        sizes[storage] = size = backend.allocate(variable, storage, over)
        record((ALLOCATE, phase, operator, variable, storage, size, begin))
    if instruction.kernel is not None:
        backend.compute(instruction)
    end = backend.clock()
    for variable, storage in instruction.reads:
        record((READ, phase, operator, variable, storage, sizes[storage], end))
    for variable, storage in instruction.deaths:
        backend.free(variable)
        record((FREE, phase, operator, variable, storage, sizes[storage], end))
