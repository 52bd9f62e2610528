"""A schedule made ready to run: names resolved to numbers, kernels looked up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from memprop.engine.gc_paused import gc_paused
from memprop.engine.order import COMPUTES, FREES, Order, order_of
from memprop.graph.rules import Kernel
from memprop.schedules.same import Same
from memprop.schedules.schedule import Schedule


class Birth(NamedTuple):
    """A variable comes to life in a storage: a fresh one, or that of the variable ``over``."""

    variable: int
    storage: int
    over: int = -1


class Use(NamedTuple):
    """A variable in its storage, to be read or freed."""

    variable: int
    storage: int


@dataclass(frozen=True, slots=True)
class Instruction:
    """One action, in numbers.

    Attributes:
        phase: index in PHASES.
        operator: as in the order of events; -1 before the first and after the last.
        does: FREES, COMPUTES, STORES or LOADS.
        births: results and workspace, allocated before the kernel runs; the copy on disk of what is
            stored; what is loaded.
        kernel: what computes; ``None`` for any other instruction.
        arguments: the variables handed to the kernel.
        attributes: the constants handed to it.
        reads: the variables it reads.
        deaths: what is freed after the kernel has run.
    """

    phase: int
    operator: int
    does: int = FREES
    births: tuple[Birth, ...] = ()
    kernel: Kernel | None = None
    arguments: tuple[int, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    reads: tuple[Use, ...] = ()
    deaths: tuple[Use, ...] = ()


@dataclass(frozen=True)
class Program:
    """A schedule in numbers.

    Attributes:
        schedule: what it was made from.
        order: its events.
    """

    schedule: Schedule
    order: Order

    @cached_property
    def instructions(self) -> tuple[Instruction, ...]:
        """What to do, in order.

        The first brings to life all that is there before the first operator: inputs, parameters,
        optimizer state.
        """
        with gc_paused():
            return tuple(_instructions(self))


@gc_paused()
def compile_schedule(schedule: Schedule) -> Program:
    """The program of a legal schedule."""
    return Program(schedule, order_of(Same(schedule.graph, schedule.actions)))


def _instructions(program: Program) -> Iterator[Instruction]:
    """The events of each action together, with what the action computes."""
    operators, order = program.schedule.graph.operators, program.order
    variables, storages = order.variable.tolist(), order.storage.tolist()
    births = list(map(Birth, variables, storages, order.over.tolist()))
    uses = list(map(Use, variables, storages))
    start = 0
    for phase, operator, born, read, dead, does in order.instructions.tolist():
        reads, deaths = start + born, start + born + read
        work = {}
        if does == COMPUTES:
            work["kernel"] = operators[operator].definition.kernel
            work["arguments"] = (*variables[reads:deaths], *variables[start:reads])
            work["attributes"] = dict(operators[operator].attributes)
        yield Instruction(
            phase=phase,
            operator=operator,
            does=does,
            births=tuple(births[start:reads]),
            reads=tuple(uses[reads:deaths]),
            deaths=tuple(uses[deaths : deaths + dead]),
            **work,
        )
        start = deaths + dead
