"""The one walk over a schedule: each action, and what is live just before it.

The check, the byte counts, the events, the marks of a picture and the tables of plans all read it.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from memprop.graph.graph import Graph, Operator
from memprop.schedules.actions import Action, Compute, Free, Load, Store


class Moment(NamedTuple):
    """One action of a walk.

    Attributes:
        action: what is done.
        operator: the operator that it runs; ``None`` if it frees, stores or loads a variable, or
            if the graph has no such operator.
        live: the number of the storage of each variable that is live just before the action. The
            walk goes on to change it: copy what is to be kept.
        stored: the same for the copies on disk.
        born: the same for what comes to life: the results and the scratch of the operator, the copy
            on disk of what is stored, in memory what is loaded. A result that is written over an
            operand has the operand's storage, everything else a new one.
        dead: the variables that are gone from memory when the action is done.
    """

    action: Action
    operator: Operator | None
    live: Mapping[str, int]
    stored: Mapping[str, int]
    born: Mapping[str, int]
    dead: tuple[str, ...]


def walk(graph: Graph, actions: Sequence[Action]) -> Iterator[Moment]:
    """Go through ``actions`` in order, from the sources of ``graph`` on.

    The walk does not judge: it also follows a schedule that reads what is not live, so that
    :func:`memprop.schedules.check.check` can say what is wrong.
    """
    fresh = count()
    live = {variable.name: next(fresh) for variable in graph.sources}
    stored: dict[str, int] = {}
    for action in actions:
        if isinstance(action, Free):
            yield Moment(action, None, live, stored, {}, (action.variable,))
            live.pop(action.variable, None)
            continue
        if not isinstance(action, Compute):
            born = {action.variable: next(fresh)}
            yield Moment(action, None, live, stored, born, ())
            _move(action, live, stored, born)
            continue
        operator = graph.operators_by_name.get(action.operator)
        if operator is None:
            yield Moment(action, None, live, stored, {}, ())
            continue
        names, dead = operator.outputs + operator.workspace, operator.workspace
        if action.into:
            taken = {target: live[operand] for target, operand in action.into if operand in live}
            born = {name: taken[name] if name in taken else next(fresh) for name in names}
            dead = (*[operand for _, operand in action.into], *dead)
        else:
            born = dict(zip(names, fresh, strict=False))
        yield Moment(action, operator, live, stored, born, dead)
        for _, operand in action.into:
            live.pop(operand, None)
        for name in operator.outputs:
            live[name] = born[name]


def _move(
    action: Store | Load, live: dict[str, int], stored: dict[str, int], born: Mapping[str, int]
) -> None:
    """What is live, and what is on disk, after a variable was stored or loaded."""
    if isinstance(action, Store):
        stored.update(born)
    else:
        live.update(born)
        stored.pop(action.variable, None)
