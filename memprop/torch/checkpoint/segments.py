"""From a plan over a chain to checkpoints within checkpoints."""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from memprop.errors import ScheduleError
from memprop.schedules.plan import BACKWARD, FORWARD, FULL, KEEPING, Plan, StageAction


@dataclass(frozen=True)
class Recomputed:
    """Blocks that run without saving anything, and again when backward needs them.

    Attributes:
        parts: what runs, in order; in the second run the parts are checkpoints of their own.
    """

    parts: "tuple[Part, ...]"


Part: TypeAlias = int | Recomputed
"""A block, by its number from 0, that saves all that its backward reads; or recomputed blocks."""


def segments(plan: Plan) -> tuple[Part, ...]:
    """What a memory-persistent plan makes of the blocks of a chain.

    The last stage of the chain is what comes after the blocks. It runs once, and is left out.

    Raises:
        ScheduleError: the plan is not memory-persistent.
    """
    runs = _forward_runs(plan.actions)
    first = runs[1].popleft()
    parts = _parts(first, runs)
    if parts[-1] != len(plan.chain) - 1:
        raise ScheduleError("the plan recomputes the last stage of its chain")
    return parts[:-1]


def in_blocks(parts: Sequence[Part], units: Sequence[Sequence[int]]) -> tuple[Part, ...]:
    """Parts of units as parts of the blocks in them."""
    found: list[Part] = []
    for part in parts:
        if isinstance(part, Recomputed):
            found.append(Recomputed(in_blocks(part.parts, units)))
        else:
            found.extend(units[part])
    return tuple(found)


def blocks(parts: Sequence[Part]) -> Iterator[int]:
    """The blocks in some parts, in order."""
    for part in parts:
        yield from (part,) if isinstance(part, int) else blocks(part.parts)


def times_run(parts: Sequence[Part], times: int = 1) -> dict[int, int]:
    """How often each block runs forward in a step."""
    found: dict[int, int] = {}
    for part in parts:
        if isinstance(part, int):
            found[part] = times
        else:
            found |= times_run(part.parts, times + 1)
    return found


_Runs = defaultdict[int, deque[list[StageAction]]]


def _forward_runs(actions: Sequence[StageAction]) -> _Runs:
    """The forwards between two backwards, by the stage with which they begin, in order."""
    runs: _Runs = defaultdict(deque)
    run: list[StageAction] = []
    for action in actions:
        if action.kind == BACKWARD:
            if run:
                runs[run[0].stage].append(run)
            run = []
        elif action.kind in (FULL, KEEPING, FORWARD):
            run.append(action)
        else:
            raise ScheduleError(f"{action}: only memory-persistent plans can be followed")
    return runs


def _parts(run: Sequence[StageAction], runs: _Runs) -> tuple[Part, ...]:
    found: list[Part] = []
    place = 0
    while place < len(run):
        begin = place
        place += 1
        if run[begin].kind == FULL:
            found.append(run[begin].stage - 1)
            continue
        while place < len(run) and run[place].kind == FORWARD:
            place += 1
        stages = [action.stage for action in run[begin:place]]
        again = runs[stages[0]].popleft()
        if [action.stage for action in again] != stages:
            raise ScheduleError(f"stages {stages} run again as {again}: not memory-persistent")
        found.append(Recomputed(_parts(again, runs)))
    return tuple(found)
