"""From the choices of a solved recurrence to the actions of a plan.

The plans of long chains are deep, so parts wait in a list and not on the stack.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from memprop.schedules.plan import BACKWARD, FORWARD, FULL, KEEPING, StageAction


class Decision(NamedTuple):
    """What to do with a part i..j of a chain.

    Attributes:
        k: i for a full forward of stage i, 0 for full forwards of all stages in their way 0;
            otherwise stages i..k-1 run forward and the input of k is kept.
        right: the solver's state for the part that comes next.
        left: and about the part before k.
        way: of the full forward of stage i.
    """

    k: int
    right: Any = None
    left: Any = None
    way: int = 0


def backtrack(
    stages: int, state: object, decide: Callable[[int, int, Any], Decision]
) -> Iterator[StageAction]:
    """The actions for the stages 1..``stages``.

    Args:
        stages: the length of the chain.
        state: the solver's state for the whole chain.
        decide: called with i, j and the state of a part.
    """
    full, back, keep, run = (_actions(kind, stages) for kind in (FULL, BACKWARD, KEEPING, FORWARD))
    waiting: list[Any] = [(1, stages, state)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, StageAction):
            yield part
            continue
        i, j, now = part
        k, right, left, way = decide(i, j, now)
        if k == 0:
            yield from full[i : j + 1]
            yield from reversed(back[i : j + 1])
        elif k == i:
            yield StageAction(FULL, i, way) if way else full[i]
            waiting.append(StageAction(BACKWARD, i, way) if way else back[i])
            if i < j:
                waiting.append((i + 1, j, right))
        else:
            yield keep[i]
            yield from run[i + 1 : k]
            waiting += [(i, k - 1, left), (k, j, right)]


@lru_cache(maxsize=64)
def _actions(kind: str, stages: int) -> tuple[StageAction, ...]:
    """One for each stage: the thousand plans of a frontier share them."""
    return tuple(StageAction(kind, stage) for stage in range(stages + 1))
