"""A schedule made ready to run: names resolved to numbers, buffers numbered, kernels looked up.

Which variable lives in which storage follows from the schedule alone, so it is settled here, once,
for every backend.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from memprop.graph.graph import Operator
from memprop.graph.rules import Kernel
from memprop.schedules.actions import Compute, Free
from memprop.schedules.schedule import Schedule
from memprop.terms import PHASES


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
        operator: index in the graph's operators; -1 before the first and after the last.
        births: results and workspace, allocated before the kernel runs.
        kernel: what computes; ``None`` for an instruction that only allocates or frees.
        arguments: the variables handed to the kernel.
        attributes: the constants handed to it.
        reads: the variables it reads.
        deaths: what is freed after the kernel has run.
    """

    phase: int
    operator: int
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
        instructions: what to do, in order. The first brings to life all that is there before the
            first operator: inputs, parameters, optimizer state.
    """

    schedule: Schedule
    instructions: tuple[Instruction, ...]


def compile_schedule(schedule: Schedule) -> Program:
    """The program of a legal schedule."""
    return _Compiler(schedule).program()


class _Compiler:
    def __init__(self, schedule: Schedule) -> None:
        graph = schedule.graph
        self.schedule = schedule
        self.variable = {variable.name: i for i, variable in enumerate(graph.variables)}
        self.operator = {operator.name: i for i, operator in enumerate(graph.operators)}
        self.storage: dict[str, int] = {}  # of the variables alive now
        self.storages = 0

    def program(self) -> Program:
        return Program(self.schedule, (self._setup(), *self._instructions()))

    def _setup(self) -> Instruction:
        births = tuple(self._birth(v.name) for v in self.schedule.graph.sources)
        return Instruction(PHASES.index("setup"), -1, births=births)

    def _instructions(self) -> Iterator[Instruction]:
        actions = self.schedule.actions
        computes = [i for i, action in enumerate(actions) if isinstance(action, Compute)]
        last = computes[-1] if computes else -1
        phase, operator = PHASES.index("setup"), -1
        for place, action in enumerate(actions):
            if isinstance(action, Compute):
                instruction = self._compute(action)
                phase, operator = instruction.phase, instruction.operator
                yield instruction
            elif place > last:
                yield self._free(action, PHASES.index("end"), -1)
            else:
                yield self._free(action, phase, operator)

    def _free(self, action: Free, phase: int, operator: int) -> Instruction:
        return Instruction(phase, operator, deaths=(self._death(action.variable),))

    def _compute(self, action: Compute) -> Instruction:
        operator = self.schedule.graph.operators_by_name[action.operator]
        into = dict(action.into)
        results = operator.outputs + operator.workspace
        births = tuple(self._birth(name, into.get(name)) for name in results)
        return Instruction(
            phase=PHASES.index(operator.phase),
            operator=self.operator[operator.name],
            births=births,
            kernel=operator.definition.kernel,
            arguments=self._arguments(operator),
            attributes=dict(operator.attributes),
            reads=tuple(self._use(name) for name in operator.inputs),
            deaths=tuple(self._death(name) for name in (*into.values(), *operator.workspace)),
        )

    def _arguments(self, operator: Operator) -> tuple[int, ...]:
        names = operator.inputs + operator.outputs + operator.workspace
        return tuple(self.variable[name] for name in names)

    def _birth(self, name: str, over: str | None = None) -> Birth:
        if over is None:
            self.storage[name] = self.storages
            self.storages += 1
            return Birth(self.variable[name], self.storage[name])
        self.storage[name] = self.storage[over]
        return Birth(self.variable[name], self.storage[name], self.variable[over])

    def _use(self, name: str) -> Use:
        return Use(self.variable[name], self.storage[name])

    def _death(self, name: str) -> Use:
        return Use(self.variable[name], self.storage.pop(name))
