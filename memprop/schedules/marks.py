"""What a schedule caches and what it computes again, for a picture of its graph."""

from collections import Counter
from collections.abc import Iterator, Sequence

from memprop.graph.graph import Graph
from memprop.graph.picture.build import Marks, cacheable
from memprop.schedules.actions import Action, Compute
from memprop.schedules.walk import walk


def marks_of(graph: Graph, actions: Sequence[Action]) -> Marks:
    """The marks of ``actions`` over ``graph``.

    Cached is a forward variable whose first value is read by backward, or by what is computed
    again for its sake, before it is freed or written over. One that waits on disk meanwhile is
    cached too.
    """
    runs = Counter(action.operator for action in actions if isinstance(action, Compute))
    return Marks(runs=runs, cached=cacheable(graph) & frozenset(_reused(graph, actions)))


def _reused(graph: Graph, actions: Sequence[Action]) -> Iterator[str]:
    done: set[str] = set()
    recomputed: set[str] = set()  # variables whose first value is gone
    for moment in walk(graph, actions):
        operator = moment.operator
        if operator is None:
            continue
        again = operator.name in done
        if again or operator.phase == "backward":
            yield from (n for n in operator.inputs if n in moment.live and n not in recomputed)
        if again:
            recomputed.update(operator.outputs)
        done.add(operator.name)
