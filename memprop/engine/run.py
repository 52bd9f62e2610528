"""The one loop that runs a program, on arrays or on shapes alone, and logs what happens."""

from typing import Protocol

from memprop.engine.log import Log
from memprop.engine.program import Instruction, Program


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


def run(program: Program, backend: Backend, log: Log | None = None) -> None:
    """Do everything that ``program`` says, in order, and note it in ``log``.

    The results are in ``backend`` afterwards.
    """
    if log is None:
        for instruction in program.instructions:
            _do(instruction, backend)
    else:
        births = 0
        for place, instruction in enumerate(program.instructions):
            births = _do_and_log(instruction, backend, log, place, births)


def _do(instruction: Instruction, backend: Backend) -> None:
    for birth in instruction.births:
        backend.allocate(*birth)
    if instruction.kernel is not None:
        backend.compute(instruction)
    for death in instruction.deaths:
        backend.free(death.variable)


def _do_and_log(
    instruction: Instruction, backend: Backend, log: Log, place: int, births: int
) -> int:
    """Do one instruction; returns how many variables were born so far."""
    log.begins[place] = backend.clock()
    for birth in instruction.births:
        log.sizes[births] = backend.allocate(*birth)
        births += 1
    if instruction.kernel is not None:
        backend.compute(instruction)
    log.ends[place] = backend.clock()
    for death in instruction.deaths:
        backend.free(death.variable)
    return births
