"""From what a user names (a model, a schedule, an optimizer) to a schedule that can be run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Protocol

import numpy as np

from memprop.engine.gc_paused import gc_paused
from memprop.errors import InvalidTypeError, InvalidValueError, ScheduleError, unknown_name
from memprop.graph.graph import Graph
from memprop.graph.optimizers import Optimizer, optimizer_named
from memprop.graph.slices import sliced
from memprop.schedules.check import check
from memprop.schedules.names import strategy_named
from memprop.schedules.schedule import Schedule
from memprop.schedules.store import inference
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
def schedule_for(
    model: Model,
    schedule: str | Schedule = "lean",
    mode: str = "train",
    optimizer: str | Optimizer | None = None,
    update: str = "at_end",
    batch: int | None = None,
) -> Schedule:
    """The schedule of one step of ``model``.

    Args:
        model: what is trained.
        schedule: a name, such as "lean", or a schedule of your own, which is checked. Inference
            has its own schedule whatever is named here.
        mode: "train" or "inference".
        optimizer: updates the parameters in a training step.
        update: "at_end" of the step, or "in_backward": each as soon as its gradient is complete.
        batch: samples of the step; ``None`` for a schedule that does not depend on them.

    Raises:
        UnknownNameError: no schedule, mode, optimizer or update has that name.
        ScheduleError: your schedule cannot be run.
    """
    if isinstance(model, type) or not callable(getattr(model, "graph", None)):
        raise InvalidTypeError(
            f"model must be a model such as mp.MLP([64, 256, 10]), got {model!r}"
        )
    if mode not in MODES:
        raise unknown_name("mode", mode, MODES)
    if update not in UPDATES:
        raise unknown_name("update", update, UPDATES)
    chosen = optimizer_named(optimizer)
    forward = model.graph(mode)
    if isinstance(schedule, Schedule):
        check(schedule)
        _check_belongs(schedule, forward, chosen)
        if batch is not None:
            check_slices(batch, schedule.slices)
        found = schedule
    elif mode == "inference":
        strategy_named(schedule)
        found = inference(forward)
    else:
        strategy = strategy_named(schedule)
        if batch is not None:
            check_slices(batch, strategy.slices)
        found = strategy.schedule(forward, chosen, update, batch)
    return replace(found, batch=batch)


def resliced(schedule: str | Schedule, batch: int, largest: int) -> str | Schedule:
    """``schedule`` for another batch size, in slices of at most ``largest`` samples.

    A schedule of the user's own is left as it is.
    """
    if isinstance(schedule, Schedule) or (strategy := strategy_named(schedule)).slices == 1:
        return schedule
    fewest = -(-batch // largest)
    slices = next(d for d in range(fewest, batch + 1) if batch % d == 0)
    return strategy.in_slices(slices).name


def depends_on_batch(schedule: str | Schedule) -> bool:
    """Whether ``schedule`` is another one for another batch size."""
    return not isinstance(schedule, Schedule) and strategy_named(schedule).depends_on_batch


def slices_of(schedule: str | Schedule) -> int:
    """Into how many slices ``schedule`` takes a batch."""
    return (schedule if isinstance(schedule, Schedule) else strategy_named(schedule)).slices


def check_slices(batch: int, slices: int) -> None:
    """Raise unless ``batch`` samples can be taken in equal slices."""
    if batch % slices:
        raise InvalidValueError(
            f"a batch of {batch} cannot be taken in {slices} equal slices: "
            f"choose a batch that is a multiple of {slices}"
        )


def _check_belongs(schedule: Schedule, forward: Graph, optimizer: Optimizer | None) -> None:
    """Raise unless a schedule of the user's own is one for this model, mode and optimizer."""
    graph = schedule.graph
    whole = forward if schedule.slices == 1 else sliced(forward, schedule.slices)
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
