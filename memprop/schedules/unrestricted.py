"""Schedules that are not memory-persistent: what is stored may be dropped and computed again.

For short chains all schedules are searched (Dijkstra's algorithm over what is live). For longer
ones a persistent plan is improved: where memory is left, a value is kept longer and its
recomputation left out.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from memprop.errors import ScheduleError
from memprop.schedules.chain import Chain
from memprop.schedules.plan import (
    BACKWARD,
    DROP,
    FULL,
    KEEPING,
    Plan,
    Replayed,
    StageAction,
    replay,
)

LONGEST: Final = 7
"""Stages up to which all schedules are searched: about 3^n states for each gradient."""

_MOST_TRIALS: Final = 1000


class _State(NamedTuple):
    """What is kept of the stages 0..n (0 nothing, 1 output, 2 saved), and which gradient."""

    kept: tuple[int, ...]
    gradient: int


def cheapest(chain: Chain, room: int) -> tuple[StageAction, ...] | None:
    """The actions of least cost that stay within ``room`` bytes; ``None`` if there are none."""
    return _search(chain, room, lambda cost, price, _: cost + price)


def smallest_peak(chain: Chain, enough: int) -> int:
    """The least peak of any schedule, given that ``enough`` bytes are enough."""
    actions = _search(chain, enough, lambda most, _, peak: max(most, peak))
    assert actions is not None  # noqa: S101 - enough is enough
    return replay(chain, actions).peak


def _search(
    chain: Chain, room: int, label: Callable[[float, float, int], float]
) -> tuple[StageAction, ...] | None:
    """The way to d_0 within ``room`` of the least label.

    ``label`` makes the label after a move from that before it, the move's cost and its peak.
    """
    start = _State((1, *[0] * len(chain)), len(chain))
    labels: dict[_State, float] = {start: 0}
    came: dict[_State, tuple[_State, StageAction]] = {}
    queue: list[tuple[float, _State]] = [(0, start)]
    while queue:
        now, state = heapq.heappop(queue)
        if state.gradient == 0:
            return _way(came, state)
        if now > labels[state]:
            continue
        for action, price, peak, after in _moves(chain, state):
            then = label(now, price, peak)
            if peak <= room and then < labels.get(after, float("inf")):
                labels[after] = then
                came[after] = (state, action)
                heapq.heappush(queue, (then, after))
    return None


def _way(came: dict[_State, tuple[_State, StageAction]], state: _State) -> tuple[StageAction, ...]:
    actions = []
    while state in came:
        state, action = came[state]
        actions.append(action)
    return tuple(reversed(actions))


Move = tuple[StageAction, float, int, _State]
"""An action, its cost, the live bytes while it is done, and the state it leaves."""


def _moves(chain: Chain, state: _State) -> Iterator[Move]:
    kept, gradient = state
    live = chain.sizes[gradient] + sum(chain.left_bytes[gradient:])
    live += sum(_held(chain, stage, how) for stage, how in enumerate(kept))
    for stage, how in enumerate(kept):
        if how:
            yield StageAction(DROP, stage), 0, live, _with(state, (stage, 0))
    for stage in range(1, gradient + 1):
        if not kept[stage] and kept[stage - 1]:
            yield from _forwards(chain, state, stage, live)
    if kept[gradient] == 2 and kept[gradient - 1]:
        yield _backward(chain, state, live)


def _held(chain: Chain, stage: int, how: int) -> int:
    return (0, chain.sizes[stage], chain.saved_bytes[stage - 1])[how]


def _forwards(chain: Chain, state: _State, stage: int, live: int) -> Iterator[Move]:
    cost = chain.forward_cost[stage - 1]
    plain = live + chain.sizes[stage] + chain.forward_workspace[stage - 1]
    yield StageAction(KEEPING, stage), cost, plain, _with(state, (stage, 1))
    full = live + chain.saved_bytes[stage - 1] + chain.saving_workspace[stage - 1]
    yield StageAction(FULL, stage), cost, full, _with(state, (stage, 2))


def _backward(chain: Chain, state: _State, live: int) -> Move:
    kept, gradient = state
    below = gradient - 1
    left = chain.left_bytes[below]
    during = live + chain.backward_workspace[below] + left
    gone = chain.saved_bytes[below] + chain.sizes[gradient]
    changes = [(gradient, 0)]
    if kept[below] == 1:
        changes.append((below, 0))
        gone += chain.sizes[below]
    after = live - gone + chain.sizes[below] + left
    then = _with(state, *changes)._replace(gradient=below)
    return StageAction(BACKWARD, gradient), chain.backward_cost[below], max(during, after), then


def _with(state: _State, *changes: tuple[int, int]) -> _State:
    kept = list(state.kept)
    for stage, how in changes:
        kept[stage] = how
    return state._replace(kept=tuple(kept))


# Long chains


def with_less_repetition(plan: Plan, room: int) -> Plan:
    """``plan`` with as many of its repeated forwards left out as ``room`` allows, dearest first."""
    steps = [action for action in plan.actions if action.kind != DROP]
    found = None
    for action in _repeated(steps, plan.chain)[:_MOST_TRIALS]:
        trial = [other for other in steps if other is not action]
        done = _try(plan.chain, trial)
        if done is not None and done[1].peak <= room:
            steps, found = trial, done
    if found is None:
        return plan
    return replace(
        plan,
        actions=found[0],
        peak=found[1].peak,
        cost=found[1].cost,
        method=f"{plan.method}; then forwards left out where memory allows",
        optimal_in=None,
    )


def _repeated(steps: list[StageAction], chain: Chain) -> list[StageAction]:
    """The forwards that are not the first of their stage, dearest first."""
    seen: set[int] = set()
    found = []
    for place, action in enumerate(steps):
        if action.kind != BACKWARD:
            if action.stage in seen:
                # An action of its own, so that it can be told from its like.
                steps[place] = StageAction(*action)
                found.append(steps[place])
            seen.add(action.stage)
    return sorted(found, key=lambda action: -chain.forward_cost[action.stage - 1])


def _try(
    chain: Chain, steps: Sequence[StageAction]
) -> tuple[tuple[StageAction, ...], Replayed] | None:
    """The actions that run ``steps`` with every value dropped at its last use, if they can."""
    actions = tuple(_with_drops(steps))
    try:
        return actions, replay(chain, actions)
    except ScheduleError:
        return None


def _with_drops(steps: Sequence[StageAction]) -> Iterator[StageAction]:
    """Forwards that save what their backward reads, and drops where nothing is read any more."""
    full, last = _uses(steps)
    for place, (kind, stage) in enumerate(steps):
        if kind == BACKWARD:
            yield StageAction(BACKWARD, stage)
            continue
        yield StageAction(FULL if place in full else KEEPING, stage)
        # Backward drops its input and what it saved by itself.
        if stage - 1 in last.get(place, ()):
            yield StageAction(DROP, stage - 1)


def _uses(steps: Sequence[StageAction]) -> tuple[set[int], dict[int, set[int]]]:
    """The forwards whose stage is then run backward, and what each forward reads last."""
    full: set[int] = set()
    last: dict[int, set[int]] = {}
    awaited: set[int] = set()  # outputs that are read further on
    saved: set[int] = set()
    for place in range(len(steps) - 1, -1, -1):
        kind, stage = steps[place]
        if kind == BACKWARD:
            saved.add(stage)
            awaited.update((stage, stage - 1))
            continue
        if stage in saved:
            full.add(place)
            saved.discard(stage)
        awaited.discard(stage)
        if stage - 1 not in awaited:
            last[place] = {stage - 1}
        awaited.add(stage - 1)
    return full, last
