"""From a plan over a chain of stages to the calls of an observed step that run again."""

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from memprop.errors import ScheduleError
from memprop.schedules.plan import BACKWARD, FORWARD, FULL, KEEPING, Plan, StageAction
from memprop.torch.checkpoint.as_chain import StepChain
from memprop.torch.checkpoint.run_through import Choice
from memprop.torch.checkpoint.values import Path


@dataclass(frozen=True)
class Whole:
    """A stage whose forward keeps what its way keeps; stages count from 0."""

    stage: int
    way: int


@dataclass(frozen=True)
class Recomputed:
    """Stages that run without saving anything, and again when backward needs them.

    Attributes:
        parts: what runs, in order; in the second run the parts may be recomputed ones too.
    """

    parts: "tuple[Part, ...]"

    @property
    def last(self) -> int:
        """The last stage."""
        return _last(self.parts[-1])


Part: TypeAlias = Whole | Recomputed


def _last(part: Part) -> int:
    return part.stage if isinstance(part, Whole) else part.last


def choice_of(plan: Plan, seen: StepChain) -> Choice:
    """The calls that run again if a step follows a memory-persistent plan.

    Raises:
        ScheduleError: the plan is not memory-persistent.
    """
    parts = parts_of(plan)
    if _last(parts[-1]) != len(seen.stages):
        raise ScheduleError("the plan leaves out the last stage of its chain")
    groups = _Groups(seen)
    groups.enter(parts, ())
    return groups.found


class _Groups:
    """Gives calls the groups that they run again in, numbered as they are met."""

    def __init__(self, seen: StepChain) -> None:
        self.found: dict[int, Path] = {}
        self._seen = seen
        self._count = 0

    def enter(self, parts: Sequence[Part], path: Path) -> None:
        """Go through parts that are in the groups of ``path``."""
        for part in parts:
            self._count += 1
            own = (*path, self._count)
            if isinstance(part, Recomputed):
                self.enter(part.parts, own)
                self._hand_on(part.last, path)
            elif part.stage < len(self._seen.stages):
                self._enter_whole(part, path, own)

    def _enter_whole(self, part: Whole, path: Path, own: Path) -> None:
        again = self._seen.again[part.stage][part.way]
        if path:
            self.found.update(dict.fromkeys(self._seen.stages[part.stage].calls, path))
        self.found.update(dict.fromkeys(again, own))

    def _hand_on(self, stage: int, path: Path) -> None:
        """What the last stage of a group hands on is needed outside of it."""
        step = self._seen.step
        for value in self._seen.stages[stage].handed_on:
            for call in step.unit_of[step.seen.values[value].call]:
                if call not in self.found:
                    continue
                if path:
                    self.found[call] = self.found[call][: len(path)]
                else:
                    del self.found[call]


def parts_of(plan: Plan) -> tuple[Part, ...]:
    """The parts of a plan, the outermost ones.

    Raises:
        ScheduleError: the plan is not memory-persistent.
    """
    runs = _forward_runs(plan.actions)
    return _parts(runs[1].popleft(), runs)


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
            found.append(Whole(run[begin].stage - 1, run[begin].way))
            continue
        while place < len(run) and run[place].kind == FORWARD:
            place += 1
        stages = [action.stage for action in run[begin:place]]
        again = runs[stages[0]].popleft()
        if [action.stage for action in again] != stages:
            raise ScheduleError(f"stages {stages} run again as {again}: not memory-persistent")
        found.append(Recomputed(_parts(again, runs)))
    return tuple(found)
