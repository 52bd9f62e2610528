"""The cheapest way through a chain within a byte budget.

Among memory-persistent schedules (see :mod:`memprop.schedules.memory_thresholds`) the plan found is
optimal for chains of up to 12 stages, with up to 96 ways in all, where no size is rounded, and for
longer ones up to the rounding of memory to a thousandth of the budget. Of a stage with several ways
(:class:`~memprop.schedules.chain.Way`) it says which one is taken. Schedules that drop what they
stored, and compute it again, can be cheaper for about one small chain in thirteen.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from math import gcd
from typing import TYPE_CHECKING, Final, SupportsIndex, overload

from memprop.checks import check_positive_integer
from memprop.errors import InvalidTypeError, InvalidValueError
from memprop.schedules import exact, least
from memprop.schedules.chain import Chain
from memprop.schedules.grid import Grid, solve
from memprop.schedules.plan import (
    BACKWARD,
    FULL,
    Plan,
    StageAction,
    infeasible,
    replay,
)
from memprop.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    import pandas as pd

LEVELS: Final = 1000
"""Memory levels of the grid that long chains are solved on."""

PERSISTENT: Final = "memory-persistent schedules"
ALL: Final = "all schedules"

IN_TURN: Final = "memory-persistent schedules that finish one part before they begin the next"
"""What the recurrence covers where backwards leave bytes behind: only then can it pay to run a
forward early, before a gradient is left."""

_EXACT: Final = "dynamic programming, exact"
_LEAST: Final = "dynamic programming for the least memory"


def optimal(chain: Chain, budget: str | SupportsIndex, *, persistent: bool | None = None) -> Plan:
    """The plan of least cost for ``chain`` whose peak stays within ``budget``.

    Args:
        chain: the stages.
        budget: bytes, or a text such as "8 MiB"; everything that is live counts.
        persistent: no longer of use. What is stored stays until its own backward; ``False`` used to
            search schedules that drop it and compute it again.

    Raises:
        InfeasibleBudget: no plan fits; the error names the smallest budget that one fits.
    """
    _check_chain(chain)
    room = check_budget(budget)
    if persistent is not None:
        warnings.warn(
            "mp.optimal plans memory-persistent schedules only: leave persistent= out",
            DeprecationWarning,
            stacklevel=2,
        )
    return _persistent(chain, room)


def check_budget(budget: str | SupportsIndex) -> int:
    """The bytes of a budget.

    Raises:
        InvalidValueError: it is not positive.
    """
    room = parse_bytes(budget)
    if room == 0:
        raise InvalidValueError(f"a budget must be more than 0 bytes, got {budget!r}")
    return room


def optimal_frontier(chain: Chain, levels: int = LEVELS) -> "pd.DataFrame":
    """Every trade of memory for cost that is worth making, from one solve.

    Args:
        chain: the stages.
        levels: memory levels for chains that are not solved exactly.

    Returns:
        ``peak_bytes``, rising, and ``cost``, falling.

    Raises:
        InvalidValueError, InvalidTypeError: ``levels`` is no positive integer.
    """
    import pandas as pd

    _check_chain(chain)
    plans = frontier_plans(chain, check_positive_integer("levels", levels))
    rows = [(plan.peak, plan.cost) for plan in plans]
    return pd.DataFrame(rows, columns=["peak_bytes", "cost"])


@lru_cache(maxsize=8)
def frontier_plans(chain: Chain, levels: int = LEVELS) -> tuple[Plan, ...]:
    """The plans behind :func:`optimal_frontier`, by rising peak."""
    kept: list[Plan] = []
    for plan in sorted(PlansOnDemand(chain, levels), key=lambda plan: (plan.peak, plan.cost)):
        if not kept or plan.cost < kept[-1].cost:
            kept.append(plan)
    return tuple(kept)


class PlansOnDemand(Sequence[Plan]):
    """The plans among which :func:`frontier_plans` finds its own, from the least memory on.

    The recurrence is solved at once. A plan is made out of it when it is asked for, which takes a
    while for each. Where sizes are rounded, a plan may need a little more than the one after it.
    """

    def __init__(self, chain: Chain, levels: int = LEVELS) -> None:
        most = everything_saved(chain)
        self._makers: list[Callable[[], Plan]]
        if exact.is_short(chain):
            self._makers = [partial(_exactly, chain, choice) for choice in exact.choices(chain)]
        else:
            grid = _grid(chain, most.peak, levels)
            self._makers = [lambda: _plan(chain, least.actions(chain), _LEAST)]
            self._makers += [partial(_at_level, chain, grid, level) for level in _drops(grid)]
        self._made = {len(self._makers): most}

    def __len__(self) -> int:
        return len(self._makers) + 1

    @overload
    def __getitem__(self, place: int) -> Plan: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Plan]: ...
    def __getitem__(self, place: int | slice) -> Plan | Sequence[Plan]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        place = range(len(self))[place]
        if place not in self._made:
            self._made[place] = self._makers[place]()
        return self._made[place]


def _exactly(chain: Chain, choice: exact.Choice) -> Plan:
    return _plan(chain, exact.actions(chain, choice), _EXACT, _covered(chain))


def _at_level(chain: Chain, grid: Grid, level: int) -> Plan:
    return _plan(chain, grid.actions(level), _rounded(grid))


def _drops(grid: Grid) -> list[int]:
    """The levels of memory at which a lower cost can be had."""
    costs = grid.levels()
    return [t for t in range(len(costs)) if costs[t] < (costs[t - 1] if t else float("inf"))]


def plans_below(chain: Chain, room: int, count: int) -> list[Plan]:
    """The ``count`` cheapest plans behind :func:`optimal_frontier` whose peak is within ``room``.

    Of a long chain only these are made out of the solved recurrence, which takes a while for each.
    """
    if exact.is_short(chain):
        return [plan for plan in frontier_plans(chain) if plan.peak <= room][-count:]
    grid = _grid(chain, everything_saved(chain).peak, LEVELS)
    within = (room - chain.input_bytes) // grid.terms.unit
    drops = [level for level in _drops(grid) if level <= within]
    return [_at_level(chain, grid, level) for level in drops[-count:]]


def everything_saved(chain: Chain) -> Plan:
    """The plan that computes nothing twice: every stage in its way 0."""
    n = len(chain)
    actions = [StageAction(FULL, stage) for stage in range(1, n + 1)]
    actions += [StageAction(BACKWARD, stage) for stage in range(n, 0, -1)]
    plan = _plan(chain, actions, "everything saved", ALL)
    # The same costs added in another order may differ in their last digit: there is no gap.
    return replace(plan, lower_bound=plan.cost)


@lru_cache(maxsize=64)
def _persistent(chain: Chain, room: int) -> Plan:
    most = everything_saved(chain)
    if room >= most.peak:
        return most
    if exact.is_short(chain):
        fitting = [c for c in exact.choices(chain) if c.need + chain.input_bytes <= room]
        if fitting:
            return _plan(chain, exact.actions(chain, fitting[-1]), _EXACT, _covered(chain))
    elif room >= chain.input_bytes:  # the grid has no levels below 0, and a_0 is not on it
        grid = _grid(chain, room, LEVELS)
        if grid.levels()[-1] < float("inf"):
            return _plan(chain, grid.actions(len(grid.levels()) - 1), _rounded(grid))
    leanest = _plan(chain, least.actions(chain), _LEAST)
    if leanest.peak > room:
        raise infeasible(room, leanest.peak)
    return leanest


def _grid(chain: Chain, room: int, levels: int) -> Grid:
    """The recurrence on at most ``levels`` levels, without rounding where that is possible."""
    memory = room - chain.input_bytes
    sizes = (
        *chain.sizes,
        *chain.saved_bytes,
        *chain.forward_workspace,
        *chain.saving_workspace,
        *chain.backward_workspace,
        *chain.retained_bytes,
        *(
            size
            for ways in chain.ways
            for way in ways
            for size in (way.saved_bytes, way.saving_workspace, way.backward_workspace)
        ),
    )
    common = gcd(*sizes)
    if common and memory // common <= levels:
        return solve(chain, common, max(memory // common, 0))
    unit = _unit(chain, max(-(-memory // levels), 1))
    return solve(chain, unit, max(memory // unit, 0))


def _unit(chain: Chain, least: int) -> int:
    """A unit of at least ``least`` bytes, less than twice as large, that rounds little away.

    Most sizes of a chain are a few that occur again and again: one of them is made a multiple.
    """
    stored = Counter((*chain.sizes, *(way.saved_bytes for ways in chain.every_way for way in ways)))
    often = sorted(stored, key=lambda size: -size * stored[size])[:16]
    units = {least, *(-(-size // (size // least)) for size in often if size >= least)}

    def rounded_away(unit: int) -> int:
        return sum(count * (-size % unit) for size, count in stored.items())

    return min(units, key=lambda unit: (rounded_away(unit), unit))


def _covered(chain: Chain) -> str:
    return IN_TURN if any(left > 0 for left in chain.retained_bytes) else PERSISTENT


def _rounded(grid: Grid) -> str:
    return f"dynamic programming, memory in units of {format_bytes(grid.terms.unit)}"


def _plan(
    chain: Chain, actions: Iterable[StageAction], method: str, optimal_in: str | None = None
) -> Plan:
    done = tuple(actions)
    peak, cost = replay(chain, done)
    return Plan(
        chain=chain,
        actions=done,
        cost=cost,
        peak=peak,
        method=method,
        optimal_in=optimal_in,
        lower_bound=sum(chain.forward_cost) + sum(chain.backward_cost),
    )


def _check_chain(chain: object) -> None:
    if not isinstance(chain, Chain):
        raise InvalidTypeError(f"chain must be an mp.Chain, got {type(chain).__name__}")
