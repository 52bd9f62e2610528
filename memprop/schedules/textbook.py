"""``textbook``: everything is kept until the step ends, as in the textbook section."""

from collections.abc import Iterator
from typing import Final

from memprop.graph.autodiff import differentiate
from memprop.graph.graph import Graph
from memprop.graph.optimizers import Optimizer, with_updates
from memprop.schedules.actions import Action, Compute, Free
from memprop.schedules.schedule import Schedule
from memprop.schedules.strategies import Strategy


def textbook(forward: Graph, optimizer: Optimizer | None = None) -> Schedule:
    """Keep every intermediate variable and every partial derivative until the step ends.

    As Dive into Deep Learning 5.3 has it: each result in a buffer of its own, phi' from z. Only
    what is an update of a buffer by its very meaning (a gradient that is added to, a parameter)
    shares it.
    """
    graph = with_updates(differentiate(forward, "textbook"), optimizer)
    return Schedule(name="textbook", graph=graph, actions=tuple(_keep_all(graph)))


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


TEXTBOOK: Final = Strategy(
    name="textbook",
    plan=lambda request: textbook(request.forward, request.optimizer),
    keeps_gradients=True,
    whole_because="keeps everything to the end of the step",
)
