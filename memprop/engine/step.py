"""One training step, prepared once and run as often as you like."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextvars import Context, copy_context
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from memprop.checks import check_positive_integer
from memprop.engine.arrays import Arena, Arrays, Heap
from memprop.engine.gc_paused import gc_paused
from memprop.engine.inputs import Inputs, as_array
from memprop.engine.log import Log
from memprop.engine.options import StepOptions
from memprop.engine.prepare import Model, resliced, schedule_for
from memprop.engine.program import Program, compile_schedule
from memprop.engine.run import run
from memprop.engine.shapes import predicted_sizes
from memprop.errors import InvalidValueError, unknown_name
from memprop.graph.graph import Graph, Variable
from memprop.graph.optimizers import Optimizer, optimizer_named
from memprop.schedules.schedule import Schedule
from memprop.terms import PHASES
from memprop.traces.about import About
from memprop.traces.devices import DISK, by_device
from memprop.traces.events import TracedOperator, TracedVariable
from memprop.traces.trace import Trace
from memprop.version import __version__

ALLOCATORS: Final[Mapping[str, type[Arrays]]] = MappingProxyType({"heap": Heap, "arena": Arena})

# NumPy hands ufuncs buffers of this many elements wherever it broadcasts or casts. Its default,
# 8192, shows up as up to 64 KiB that no variable accounts for; a small one stays in the cache and
# runs faster: adding a bias to 512 x 1024 float32 takes 59 us instead of 101 us.
_BUFFER_ELEMENTS: Final = 512


class Step:
    """A training or inference step of a model for one batch size.

    Args:
        model: what is trained. Its parameters are used as they are, not copied, and an optimizer
            updates them.
        batch: samples per step.
        schedule: what is kept, freed and recomputed: a name such as "lean", or a Schedule.
        mode: "train" or "inference".
        optimizer: a name such as "adam", or ``mp.Adam(1e-3)``; its state belongs to this step.
        allocator: "arena" for one buffer planned beforehand, "heap" for a buffer per variable.
        record: whether each run leaves a trace.
        update: when the optimizer updates a parameter: "at_end" of the step, or "in_backward", as
            soon as its gradient is complete; the gradient is then freed and is no output.

    Raises:
        MempropError: an argument is wrong; the message says which and what was expected.

    With the schedule "offload:DIR" each run writes files into a folder of its own within DIR, and
    removes them when it ends, also with an error.
    """

    def __init__(
        self,
        model: Model,
        batch: SupportsIndex,
        schedule: str | Schedule = "lean",
        mode: str = "train",
        optimizer: str | Optimizer | None = None,
        allocator: str = "arena",
        record: bool = True,
        update: str = "at_end",
    ) -> None:
        if not isinstance(allocator, str) or allocator not in ALLOCATORS:
            raise unknown_name("allocator", allocator, ALLOCATORS)
        self._model, self._record = model, record
        self.options = StepOptions(
            schedule=schedule,
            mode=mode,
            optimizer=optimizer,
            update=update,
            allocator=allocator,
        )
        self.batch = check_positive_integer("batch", batch)
        self.schedule = schedule_for(model, self.options, self.batch)
        self._program = compile_schedule(self.schedule)
        _check_size(self._program)  # before any array is made
        self._persistent = _persistent_arrays(self.schedule, model)
        self._begin()

    def _begin(self) -> None:
        graph, rows = self.schedule.graph, _rows(self.schedule)
        self._inputs = Inputs(graph, self.batch, self.schedule.micro_batches)
        self._arrays = ALLOCATORS[self.options.allocator](self._program, rows, self._persistent)
        self._log = Log.for_program(self._program, self._arrays.sizes) if self._record else None
        self._context = _quiet_context()
        self._results: Mapping[str, np.ndarray] = {}

    def with_batch(self, batch: SupportsIndex) -> "Step":
        """This step for another batch size, on the same parameters and optimizer state.

        Where it is taken in micro-batches, they are no larger than those of this step.
        """
        other = copy.copy(self)
        other.batch = check_positive_integer("batch", batch)
        again = resliced(self.options.schedule, other.batch, largest=_rows(self.schedule))
        options = replace(self.options, schedule=again)
        other.schedule = schedule_for(self._model, options, other.batch)
        other._program = compile_schedule(other.schedule)
        _check_size(other._program)
        other._begin()
        return other

    def __call__(self, x: ArrayLike, y: ArrayLike | None = None) -> Any:
        """Run the step on ``x`` (batch, inputs) and, in training, the labels or targets ``y``.

        Returns:
            The loss L as a float; in inference the output o, an array (batch, outputs).

        Raises:
            MempropError: ``x`` or ``y`` has a wrong shape, type or value.
        """
        self.release()
        self._context.run(self._run, x, y)
        if self.options.mode == "inference":
            return self._results[self.schedule.graph.outputs[0]].copy()  # outlives the arena
        return float(self._results["L"])

    def _run(self, x: ArrayLike, y: ArrayLike | None) -> None:
        inputs = self._inputs.check({"x": x, "y": y})
        try:
            self._arrays.begin(inputs)
            run(self._arrays.prepared, self._log)
            self._results = self._arrays.outputs()
        finally:
            self._arrays.clear()  # a step that ran out of room must not hold on to any

    @property
    def mode(self) -> str:
        """Which part of a step it runs: "train" or "inference"."""
        return self.options.mode

    @property
    def allocator(self) -> str:
        """Where its arrays live: "arena" or "heap"."""
        return self.options.allocator

    def release(self) -> None:
        """Let go of what the last run put out; every run begins with this."""
        self._results = {}

    @property
    def arena_bytes(self) -> int | None:
        """The size of the arena; ``None`` with another allocator."""
        return self._arrays.nbytes if isinstance(self._arrays, Arena) else None

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """The gradient of each parameter in the last run, by the parameter's name.

        With the arena they are valid until the next run.

        Raises:
            InvalidValueError: nothing was run yet.
        """
        self._check_has_run()
        names = (p.name for p in self.schedule.graph.parameters)
        return {name: self._results[f"d{name}"] for name in names if f"d{name}" in self._results}

    @property
    def outputs(self) -> dict[str, Any]:
        """What the last run put out: loss, penalty and objective as floats, the gradients.

        Raises:
            InvalidValueError: nothing was run yet.
        """
        self._check_has_run()
        if self.options.mode == "inference":
            return {"prediction": self._results[self.schedule.graph.outputs[0]]}
        scalars = {"loss": "L", "penalty": "s", "objective": "J"}
        found = {k: float(self._results[v]) for k, v in scalars.items() if v in self._results}
        return {"objective": found["loss"], **found, "gradients": self.gradients}

    def _check_has_run(self) -> None:
        if not self._results:
            raise InvalidValueError("this step has no results: call it with x and y first")

    @property
    def trace(self) -> Trace:
        """The trace of the last run.

        Raises:
            InvalidValueError: nothing was run yet, or the step was made with ``record=False``.
        """
        if self._log is None:
            raise InvalidValueError("this step leaves no trace: make it with record=True")
        self._check_has_run()
        outputs = copy.deepcopy(self.outputs)  # the arena is written over by the next run
        return _trace(self._program, self.options, self._log, outputs)


def trace(
    model: Model,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    schedule: str | Schedule = "lean",
    mode: str = "train",
    optimizer: str | Optimizer | None = None,
    allocator: str = "heap",
    update: str = "at_end",
) -> Trace:
    """Run one real step of ``model`` on all of ``x`` and ``y`` and say where every byte went.

    With an optimizer the model's parameters are updated, as in any real step. The arguments are
    those of :class:`Step`.
    """
    samples = as_array("x", x)
    if samples.ndim < 2 or not len(samples):
        raise InvalidValueError(f"x must have the shape (batch, inputs), got {samples.shape}")
    step = Step(model, len(samples), schedule, mode, optimizer, allocator, update=update)
    step(samples, y)
    return step.trace


@gc_paused()
def simulate(
    model: Model,
    batch: SupportsIndex,
    *,
    schedule: str | Schedule = "lean",
    mode: str = "train",
    optimizer: str | Optimizer | None = None,
    update: str = "at_end",
) -> Trace:
    """The trace that a step would leave, without allocating or computing anything.

    It equals that of a real step but for the times and the outputs. The arguments are those of
    :class:`Step`.
    """
    size = check_positive_integer("batch", batch)
    options = StepOptions(schedule=schedule, mode=mode, optimizer=optimizer, update=update)
    return predicted_trace(model, size, options)


def predicted_trace(model: Model, size: int, options: StepOptions) -> Trace:
    """The trace that a step of ``size`` samples would leave: see :func:`simulate`."""
    program = compile_schedule(schedule_for(model, options, size))
    _check_size(program)
    rows = size // program.schedule.micro_batches
    log = Log.for_program(program, predicted_sizes(program, rows))
    return _trace(program, options, log, None)


def _trace(
    program: Program, options: StepOptions, log: Log, outputs: Mapping[str, Any] | None
) -> Trace:
    """The trace of a step; without outputs it was simulated."""
    schedule = program.schedule
    optimizer = optimizer_named(options.optimizer)
    about = About(
        framework="memprop",
        version=__version__,
        run="simulated" if outputs is None else "real",
        device="cpu",
        mode=options.mode,
        schedule=schedule.name,
        batch=schedule.batch,
        optimizer="none" if optimizer is None else optimizer.rule,
        update=None if optimizer is None else options.update,
        allocator=None if outputs is None else options.allocator,
        flops=schedule.flops,
        recomputed_flops=schedule.recomputed_flops,
    )
    variables = _traced_variables(schedule.graph, _rows(schedule))
    operators = _traced_operators(schedule.graph, _rows(schedule))
    copied = [variables[number] for number in program.order.copies]
    if copied:
        here = (replace(variable, device="cpu") for variable in variables)
        variables = (*here, *(replace(variable, device=DISK) for variable in copied))
        operators = (*operators, *_transfers(program, copied))
    whole = Trace(
        events=log.events(program),
        variables=variables,
        operators=operators,
        about=about,
        outputs=outputs,
    )
    return by_device(whole) if copied else whole


def _transfers(program: Program, copied: Iterable[TracedVariable]) -> Iterator[TracedOperator]:
    """What stores and loads each variable that is ever on disk, as the order numbers them."""
    phase_of = dict(program.order.instructions[:, [1, 0]].tolist())
    first = len(program.schedule.graph.operators)
    for place, variable in enumerate(copied):
        for number, what in enumerate(("store", "load"), first + 2 * place):
            phase = PHASES[phase_of[number]]
            yield TracedOperator(f"{what} {variable.name}", phase, variable.layer, flops=0)


@lru_cache(maxsize=8)
def _traced_variables(graph: Graph, batch: int) -> tuple[TracedVariable, ...]:
    return tuple(
        [
            TracedVariable(v.name, v.category, v.layer, v.shape_at(batch), v.dtype, nbytes)
            for v, nbytes in zip(graph.variables, graph.sizes_at(batch), strict=True)
        ]
    )


@lru_cache(maxsize=8)
def _traced_operators(graph: Graph, batch: int) -> tuple[TracedOperator, ...]:
    return tuple(
        [
            TracedOperator(op.name, op.phase, op.layer, flops=flops)
            for op, flops in zip(graph.operators, graph.flops_at(batch), strict=True)
        ]
    )


def _quiet_context() -> Context:
    """Where kernels run: NumPy neither warns there nor takes large buffers.

    Entering a context that was made once costs a hundredth of ``np.errstate``.
    """
    context = copy_context()
    context.run(np.seterr, all="ignore")
    context.run(np.setbufsize, _BUFFER_ELEMENTS)
    return context


def _rows(schedule: Schedule) -> int:
    """The value of the batch size that stands in the shapes: the samples of a micro-batch."""
    assert schedule.batch is not None  # noqa: S101 - schedule_for() was given one
    return schedule.batch // schedule.micro_batches


def _check_size(program: Program) -> None:
    """Raise unless all bytes of the step fit into the integers that count them."""
    schedule = program.schedule
    if schedule.graph.all_bytes.at(_rows(schedule)) >= 2**63:
        raise InvalidValueError(
            f"a step of batch {schedule.batch} would take more than 2^63 bytes: "
            "choose a smaller batch or narrower layers"
        )


def _persistent_arrays(schedule: Schedule, model: Model) -> dict[str, np.ndarray]:
    """The model's parameters, and zeros for the state of the optimizer."""
    state = {
        v.name: np.zeros(v.shape_at(1), dtype=v.dtype)
        for v in schedule.graph.sources
        if v.category == "optimizer_state"
    }
    for variable in schedule.graph.parameters:
        _check_parameter(variable, model.parameters.get(variable.name))
    return {**model.parameters, **state}


def _check_parameter(variable: Variable, array: object) -> None:
    """Raise unless ``array`` can take the place of ``variable``."""
    shape, dtype = variable.shape_at(1), variable.dtype
    if not isinstance(array, np.ndarray) or (array.shape, array.dtype) != (shape, dtype):
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else repr(array)
        raise InvalidValueError(f"{variable.name} must be an array {dtype} {shape}, got {got}")
    if not (array.flags.c_contiguous and array.flags.writeable):
        raise InvalidValueError(f"{variable.name} must be contiguous and writeable")
