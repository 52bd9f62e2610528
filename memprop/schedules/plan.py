"""What a planner answers: actions over a chain, and the machine that replays them.

The machine is written from the memory model alone (see :mod:`memprop.schedules.chain`) and shares
nothing with the planners, so that each witnesses the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from memprop.errors import InfeasibleBudget, ScheduleError
from memprop.schedules.chain import Chain, Way
from memprop.units import format_bytes, format_enough

FORWARD: Final = "forward"
KEEPING: Final = "forward keeping input"
FULL: Final = "full forward"
BACKWARD: Final = "backward"
DROP: Final = "drop"
"""Let go of what is kept of a stage, s_l or a_l; 0 stands for the input of the chain."""


class StageAction(NamedTuple):
    """One thing to do with one stage.

    Attributes:
        kind: what to do.
        stage: with which stage; they count from 1.
        way: of a full forward and of its backward, the place in :meth:`Chain.ways_of`; else 0.
    """

    kind: str
    stage: int
    way: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.stage}" + (f", way {self.way}" if self.way else "")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A way through a chain.

    Attributes:
        chain: the chain that it is a plan for.
        actions: what to do, in order.
        cost: of all forwards and backwards, repeated ones each time.
        peak: the most that is ever live, in true bytes.
        method: how it was found.
        optimal_in: the class of schedules in which none of that peak costs less; ``None`` if that
            is not known.
        lower_bound: no schedule whatever costs less, in whichever ways of the chain.
    """

    chain: Chain
    actions: tuple[StageAction, ...]
    cost: float
    peak: int
    method: str
    optimal_in: str | None
    lower_bound: float

    @property
    def gap(self) -> float:
        """By what fraction the cost may exceed that of the best schedule of all."""
        return 0.0 if self.cost == self.lower_bound else self.cost / self.lower_bound - 1

    def __str__(self) -> str:
        return "\n".join(f"{n:5d}  {action}" for n, action in enumerate(self.actions))


def infeasible(budget: int, smallest: int) -> InfeasibleBudget:
    """The error for a budget that is too small; it names one that can be kept to."""
    return InfeasibleBudget(
        f"no schedule fits into {budget} bytes ({format_bytes(budget)}): the smallest budget that "
        f"can be kept to is {smallest} bytes ({format_enough(smallest)})",
        budget,
        smallest,
    )


class Replayed(NamedTuple):
    """What the machine found: the peak in bytes, and the cost."""

    peak: int
    cost: float


def replay(chain: Chain, actions: Iterable[StageAction]) -> Replayed:
    """Do ``actions`` under the memory model.

    Raises:
        ScheduleError: an action needs what is not there, or the step does not end with d_0.
    """
    machine = _Machine(chain)
    for action in actions:
        machine.do(action)
    if machine.gradient != 0:
        raise ScheduleError(f"the plan ends with the gradient d_{machine.gradient}, not with d_0")
    return Replayed(machine.peak, machine.cost)


class _Machine:
    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.stages = range(1, len(chain) + 1)
        self.sizes, self.ways = chain.sizes, chain.every_way
        self.outputs = {0}  # stages whose a_l is live by itself
        self.saved: dict[int, int] = {}  # stages whose s_l is live, and in which way
        self.gradient = len(chain)
        self.cost: float = 0
        self.live = self.peak = self.sizes[0] + self.sizes[-1]

    def do(self, action: StageAction) -> None:
        kind, stage, way = action
        if way and kind not in (FULL, BACKWARD):
            raise ScheduleError(f"{action}: only full forwards and backwards have ways")
        if kind == DROP:
            if stage not in self.outputs and stage not in self.saved:
                raise ScheduleError(f"{action}: nothing of that stage is live")
            self._drop(stage)
            return
        if stage not in self.stages:
            raise ScheduleError(f"{action}: the chain has the stages 1 to {len(self.chain)}")
        if stage - 1 not in self.outputs and stage - 1 not in self.saved:
            raise ScheduleError(f"{action}: its input a_{stage - 1} is not live")
        if kind == BACKWARD:
            self._backward(action)
        elif kind in (FORWARD, KEEPING, FULL):
            self._forward(action)
        else:
            raise ScheduleError(f"there is no action {kind!r}")
        if self.live > self.peak:
            self.peak = self.live

    def _way(self, action: StageAction) -> Way:
        ways = self.ways[action.stage - 1]
        if not 0 <= action.way < len(ways):
            raise ScheduleError(f"{action}: the stage has the ways 0 to {len(ways) - 1}")
        return ways[action.way]

    def _forward(self, action: StageAction) -> None:
        kind, stage, number = action
        if stage in self.outputs or stage in self.saved:
            raise ScheduleError(f"{action}: its output is live already")
        chain = self.chain
        if kind == FULL:
            way = self._way(action)
            made, workspace = way.saved_bytes, way.saving_workspace
            self.saved[stage] = number
        else:
            made, workspace = self.sizes[stage], chain.forward_workspace[stage - 1]
            self.outputs.add(stage)
        self.peak = max(self.peak, self.live + made + workspace)
        self.cost += chain.forward_cost[stage - 1]
        self.live += made
        if kind == FORWARD and stage - 1 in self.outputs:
            self._drop(stage - 1)

    def _backward(self, action: StageAction) -> None:
        stage = action.stage
        if self.gradient != stage or stage not in self.saved:
            raise ScheduleError(f"{action}: d_{stage} or s_{stage} is not live")
        if action.way != self.saved[stage]:
            raise ScheduleError(f"{action}: s_{stage} was saved in way {self.saved[stage]}")
        way = self.ways[stage - 1][action.way]
        left = self.chain.retained_bytes[stage - 1]
        self.peak = max(self.peak, self.live + way.backward_workspace + left)
        self.cost += way.backward_cost
        self._drop(stage)
        if stage - 1 in self.outputs:
            self._drop(stage - 1)
        self.live += left + self.sizes[stage - 1] - self.sizes[stage]
        self.gradient = stage - 1

    def _drop(self, stage: int) -> None:
        if stage in self.saved:
            self.live -= self.ways[stage - 1][self.saved.pop(stage)].saved_bytes
        else:
            self.outputs.remove(stage)
            self.live -= self.sizes[stage]
