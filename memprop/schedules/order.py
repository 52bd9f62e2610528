"""From an order of operators to a schedule: what is freed when, and what is written over what.

A strategy decides in which order the operators run and which of them run again; everything else
follows. A value is read from its latest computation, so it lives from there to its last read
before it is computed again, and not an action longer.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from memprop.graph.graph import Graph, Operator
from memprop.schedules.actions import Action, Compute, Free


def in_order(
    graph: Graph, order: Sequence[Operator], kept: Iterable[str] = ()
) -> tuple[Action, ...]:
    """The actions that run ``order``, freeing each value at its last use.

    Args:
        graph: the step.
        order: its operators, each at least once; one that stands there again is recomputed. A
            recomputation that nothing reads is left out.
        kept: variables that are read once more behind the end of ``order``, if that is but a part
            of a step.
    """
    useful = [order[place] for place in useful_places(graph, order)]
    return tuple(_actions(graph, useful, _dying(graph, useful, set(kept))))


def useful_places(graph: Graph, order: Sequence[Operator]) -> list[int]:
    """The places in ``order`` but those of repetitions whose results are not read."""
    times = Counter([operator.name for operator in order])
    if len(times) == len(order):
        return list(range(len(order)))
    awaited = set(graph.outputs)
    useful = []
    for place in range(len(order) - 1, -1, -1):
        operator = order[place]
        if times[operator.name] > 1 and awaited.isdisjoint(operator.outputs):
            times[operator.name] -= 1
            continue
        awaited.difference_update(operator.outputs)
        awaited.update(operator.inputs)
        useful.append(place)
    return useful[::-1]


def _dying(graph: Graph, order: Sequence[Operator], awaited: set[str]) -> list[list[str]]:
    """For each place in ``order`` the values used for the last time, in the order of their use."""
    survivors, found = graph.survivors, []
    for operator in reversed(order):
        used = dict.fromkeys(operator.inputs + operator.outputs)  # a dict keeps the order
        found.append([name for name in used if name not in awaited and name not in survivors])
        awaited.difference_update(operator.outputs)
        awaited.update(operator.inputs)
    return found[::-1]


def _actions(
    graph: Graph, order: Sequence[Operator], dying: Sequence[list[str]]
) -> Iterator[Action]:
    for operator, dead in zip(order, dying, strict=True):
        into = chosen_overwrites(graph, operator, dead)
        yield Compute(operator.name, into)
        taken = [operand for _, operand in into]
        for name in dead:
            if name not in taken:
                yield Free(name)


def chosen_overwrites(
    graph: Graph, operator: Operator, dying: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """The pairs in which a target takes over the buffer of an operand that dies here."""
    always, where_dead = graph.overwrites(operator)
    if not (always or where_dead):
        return ()
    chosen = dict(always)
    for target, operand in where_dead:
        if operand in dying and target not in chosen and operand not in chosen.values():
            chosen[target] = operand
    return tuple(chosen.items())
