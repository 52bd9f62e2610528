"""From what a user names (a model, a schedule, an optimizer) to a schedule that can be run."""

from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np

from memprop.errors import InvalidTypeError, ScheduleError, unknown_name
from memprop.graph.graph import Graph
from memprop.graph.optimizers import Optimizer, optimizer_named
from memprop.schedules.actions import Schedule
from memprop.schedules.check import check
from memprop.schedules.names import strategy_named
from memprop.schedules.store import inference
from memprop.terms import MODES

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


def schedule_for(
    model: Model,
    schedule: str | Schedule = "lean",
    mode: str = "train",
    optimizer: str | Optimizer | None = None,
) -> Schedule:
    """The schedule of one step of ``model``.

    Args:
        model: what is trained.
        schedule: a name, such as "lean", or a schedule of your own, which is checked. Inference
            has its own schedule whatever is named here.
        mode: "train" or "inference".
        optimizer: updates the parameters at the end of a training step.

    Raises:
        UnknownNameError: no schedule, mode or optimizer has that name.
        ScheduleError: your schedule cannot be run.
    """
    if isinstance(model, type) or not callable(getattr(model, "graph", None)):
        raise InvalidTypeError(
            f"model must be a model such as mp.MLP([64, 256, 10]), got {model!r}"
        )
    if mode not in MODES:
        raise unknown_name("mode", mode, MODES)
    chosen = optimizer_named(optimizer)
    if isinstance(schedule, Schedule):
        check(schedule)
        _check_belongs(schedule, model.graph(mode), chosen)
        return schedule
    strategy = strategy_named(schedule)
    if mode == "inference":
        return inference(model.graph("inference"))
    return strategy(model.graph("train"), chosen)


def _check_belongs(schedule: Schedule, forward: Graph, optimizer: Optimizer | None) -> None:
    """Raise unless a schedule of the user's own is one for this model, mode and optimizer."""
    graph = schedule.graph
    if _forward(graph) != _forward(forward):
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
