"""From what a user names (a model, a schedule, an optimizer) to a schedule that can be run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Protocol

import numpy as np

from memprop.engine.gc_paused import gc_paused
from memprop.engine.options import StepOptions
from memprop.errors import InvalidTypeError, InvalidValueError, ScheduleError, unknown_name
from memprop.graph.graph import Graph
from memprop.graph.micro_batches import sliced
from memprop.graph.optimizers import Optimizer, optimizer_named
from memprop.schedules.check import check
from memprop.schedules.inference import inference
from memprop.schedules.names import strategy_named
from memprop.schedules.schedule import Schedule
from memprop.terms import MODES, UPDATES

Mode = Literal["train", "inference"]


class Model(Protocol):
    """What the engine needs of a model; :class:`memprop.MLP` is one, yours may be another."""

    def graph(self, mode: Mode = "train") -> Graph:
        """The forward pass, to the objective ("train") or to the output ("inference")."""
        ...

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """The parameters by the names that the graph gives them; training updates them in place."""
        ...


@gc_paused()
def schedule_for(model: Model, options: StepOptions, batch: int | None = None) -> Schedule:
    """The schedule of one step of ``model``.

    Args:
        model: what is trained.
        options: how the step is done; a schedule that the user made is checked.
        batch: samples of the step; ``None`` for a schedule that does not depend on them.

    Raises:
        UnknownNameError: no schedule, mode, optimizer or update has that name.
        ScheduleError: your schedule cannot be run.
    """
    if isinstance(model, type) or not callable(getattr(model, "graph", None)):
        raise InvalidTypeError(
            f"model must be a model such as mp.MLP([64, 256, 10]), got {model!r}"
        )
    if options.mode not in MODES:
        raise unknown_name("mode", options.mode, MODES)
    if options.update not in UPDATES:
        raise unknown_name("update", options.update, UPDATES)
    optimizer = optimizer_named(options.optimizer)
    forward = model.graph(options.mode)
    if isinstance(options.schedule, Schedule):
        found = options.schedule
        check(found)
        _check_belongs(found, forward, optimizer)
        if batch is not None:
            check_micro_batches(batch, found.micro_batches)
    else:
        strategy = strategy_named(options.schedule)
        if options.mode == "inference":
            found = inference(forward)
        else:
            if batch is not None:
                check_micro_batches(batch, strategy.micro_batches)
            found = strategy.schedule(forward, optimizer, options.update, batch)
    return replace(found, batch=batch)


def resliced(schedule: str | Schedule, batch: int, largest: int) -> str | Schedule:
    """``schedule`` for another batch size, in micro-batches of at most ``largest`` samples.

    A schedule of the user's own is left as it is.
    """
    if isinstance(schedule, Schedule) or (strategy := strategy_named(schedule)).micro_batches == 1:
        return schedule
    fewest = -(-batch // largest)
    micro_batches = next(d for d in range(fewest, batch + 1) if batch % d == 0)
    return strategy.in_micro_batches(micro_batches).name


def depends_on_batch(schedule: str | Schedule) -> bool:
    """Whether ``schedule`` is another one for another batch size."""
    return not isinstance(schedule, Schedule) and strategy_named(schedule).depends_on_batch


def micro_batches_of(schedule: str | Schedule) -> int:
    """Into how many micro-batches ``schedule`` takes a batch."""
    return (schedule if isinstance(schedule, Schedule) else strategy_named(schedule)).micro_batches


def check_micro_batches(batch: int, micro_batches: int) -> None:
    """Raise unless ``batch`` samples can be taken in equal micro-batches."""
    if batch % micro_batches:
        raise InvalidValueError(
            f"a batch of {batch} cannot be taken in {micro_batches} equal micro-batches: "
            f"choose a batch that is a multiple of {micro_batches}"
        )


def _check_belongs(schedule: Schedule, forward: Graph, optimizer: Optimizer | None) -> None:
    """Raise unless a schedule of the user's own is one for this model, mode and optimizer."""
    graph = schedule.graph
    whole = forward if schedule.micro_batches == 1 else sliced(forward, schedule.micro_batches)
    if _forward(graph) != _forward(whole):
        raise ScheduleError("the schedule was made for another model, or for another mode")
    updates = {operator.rule for operator in graph.operators if operator.phase == "update"}
    if optimizer is not None and optimizer.rule not in updates:
        raise ScheduleError(
            f"the schedule does not update parameters with {optimizer.rule}: "
            "make it with that optimizer"
        )


def _forward(graph: Graph) -> tuple[object, ...]:
    """What makes a model: its parameters, the operators of its forward pass, its objective."""
    operators = tuple(operator for operator in graph.operators if operator.phase == "forward")
    return graph.parameters, operators, graph.objective
