"""What a schedule caches and what it computes again, for a picture of its graph."""

from collections import Counter
from collections.abc import Iterator, Sequence

from memprop.graph.graph import Graph
from memprop.graph.picture.build import Marks, cacheable
from memprop.schedules.actions import Action, Compute, Free


def marks_of(graph: Graph, actions: Sequence[Action]) -> Marks:
    """The marks of ``actions`` over ``graph``.

    Cached is a forward variable whose first value is read by backward, or by what is computed
    again for its sake, before it is freed or written over.
    """
    runs = Counter(action.operator for action in actions if isinstance(action, Compute))
    return Marks(runs=runs, cached=cacheable(graph) & frozenset(_reused(graph, actions)))


def _reused(graph: Graph, actions: Sequence[Action]) -> Iterator[str]:
    alive = {variable.name for variable in graph.sources}
    done: set[str] = set()
    for action in actions:
        if isinstance(action, Free):
            alive.discard(action.variable)
            continue
        operator, again = graph.operators_by_name[action.operator], action.operator in done
        if again or operator.phase == "backward":
            yield from alive.intersection(operator.inputs)
        alive.difference_update(operand for _, operand in action.into)
        if not again:
            alive.update(operator.outputs)
        done.add(action.operator)
