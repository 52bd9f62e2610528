"""The three ways to store: everything, what backward reads, nothing.

Each is a function from the forward graph of a model to a schedule.
"""

from collections.abc import Iterator

from memprop.errors import ScheduleError
from memprop.graph.autodiff import differentiate
from memprop.graph.graph import Graph
from memprop.graph.optimizers import Optimizer, with_updates
from memprop.schedules.actions import Action, Compute, Free
from memprop.schedules.order import in_order
from memprop.schedules.recompute import as_built, in_that_order
from memprop.schedules.schedule import Schedule


def textbook(forward: Graph, optimizer: Optimizer | None = None) -> Schedule:
    """Keep every intermediate variable and every partial derivative until the step ends.

    As Dive into Deep Learning 5.3 has it: each result in a buffer of its own, phi' from z. Only
    what is an update of a buffer by its very meaning (a gradient that is added to, a parameter)
    shares it.
    """
    graph = with_updates(differentiate(forward, "textbook"), optimizer)
    return Schedule(name="textbook", graph=graph, actions=tuple(_keep_all(graph)))


def lean(forward: Graph, optimizer: Optimizer | None = None) -> Schedule:
    """Keep only what backward reads, in the form that needs least.

    Derivatives of relu, tanh and sigmoid come from their output; a result is written over an
    operand that dies; everything is freed at its last use. Nothing is computed twice.
    """
    return in_that_order("lean", as_built, forward, optimizer)


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


def _keep_all(graph: Graph) -> Iterator[Action]:
    consumed: set[str] = set()
    for operator in graph.operators:
        into = graph.overwrites(operator).always
        consumed.update(operand for _, operand in into)
        yield Compute(operator=operator.name, into=into)
    made = [name for operator in graph.operators for name in operator.outputs]
    for name in (*(variable.name for variable in graph.sources), *made):
        if name not in consumed and not graph.survives(name):
            yield Free(variable=name)
