"""``inference``: nothing is kept; the forward pass alone."""

from typing import Final

from memprop.errors import ScheduleError
from memprop.graph.graph import Graph
from memprop.graph.optimizers import Optimizer
from memprop.schedules.order import in_order
from memprop.schedules.schedule import Schedule
from memprop.schedules.strategies import Strategy


def inference(forward: Graph, optimizer: Optimizer | None = None) -> Schedule:
    """Keep nothing: the forward pass alone, each variable freed at its last use.

    Raises:
        ScheduleError: the graph has an objective or an optimizer, that is, it is to be trained.
    """
    if forward.objective is not None or optimizer is not None:
        raise ScheduleError(
            "the schedule 'inference' keeps nothing for backward: ask for mode='inference'"
        )
    return Schedule(name="inference", graph=forward, actions=in_order(forward, forward.operators))


INFERENCE: Final = Strategy(
    name="inference",
    plan=lambda request: inference(request.forward, request.optimizer),
    whole_because="has no gradients",
)
