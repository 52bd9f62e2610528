"""Short graphs: the least recomputation of all, by a search over what is live.

The planner of chains takes stages for wholes and keeps what it stores until its own backward. Here
single operators are run, and any value may be dropped and computed again. Searched are all
schedules that run each backward operator once, in the order of the graph, after the loss. There is
a state for each set of live forward values and each place in backward, so this is for short graphs
only.

The search is A* (Hart, Nilsson, Raphael 1968). What must at least be computed again is the
estimate: the values that backward still reads, as far as they are gone, and what they are made of.
A value is dropped only where something would not fit otherwise: whatever can be done with few live
values can be done with more.
"""

import heapq
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from memprop.graph.graph import Graph, Operator
from memprop.schedules.space import Run, Space, bits, space_of

LONGEST: Final = 16
"""Forward operators up to which a search is tried."""

STATES: Final = 10_000
"""States that are looked at before a search is given up: a fraction of a second."""


class Found(NamedTuple):
    """The result of a search.

    Attributes:
        order: the operators of a step in the order found; ``None`` if none is cheap enough.
        complete: whether all schedules were considered, so that none is cheaper.
    """

    order: tuple[Operator, ...] | None
    complete: bool


def search(
    graph: Graph,
    batch: int,
    budget: int,
    *,
    below: float = float("inf"),
    states: int = STATES,
    any_will_do: bool = False,
) -> Found:
    """The order of least FLOPs that stays within a budget.

    Args:
        graph: a training step.
        batch: the value of the batch size.
        budget: bytes that may be live at most.
        below: FLOPs of the whole step; only what takes fewer is of interest.
        states: how many are looked at before the search is given up.
        any_will_do: whether to take the first order found, whatever its FLOPs; this is quicker.
    """
    space = space_of(graph, batch)
    if budget < space.least_bytes:
        return Found(None, complete=True)
    if len(space.forward) > LONGEST:
        return Found(None, complete=False)
    return _Search(space, budget, below - space.backward_flops, any_will_do).run(states)


class _State(NamedTuple):
    """Which forward values are live, as bits, and how many backward operators have run."""

    live: int
    place: int


class _Move(NamedTuple):
    """What can be done in a state: run an operator, or (``None``) drop a value."""

    operator: Operator | None
    flops: int
    then: _State


class _Search:
    def __init__(self, space: Space, budget: int, below: float, far_first: bool) -> None:
        self.space, self.budget, self.below = space, budget, below
        self.far_first = far_first
        self.came: dict[_State, tuple[_State, Operator | None]] = {}

    def run(self, states: int) -> Found:
        """The states by what they cost, with what they will at least cost besides."""
        start = _State(self.space.start, 0)
        costs: dict[_State, float] = {start: 0}
        queue: list[Any] = [(0, 0, start)]
        done: set[_State] = set()
        while queue and len(done) < states:
            *_, state = heapq.heappop(queue)
            if state in done:
                continue
            if self._is_end(state):
                return Found(self._way(state), complete=True)
            done.add(state)
            for operator, flops, then in self._moves(state):
                cost = costs[state] + flops
                if cost < costs.get(then, float("inf")):
                    estimate = cost + self._estimate(then)
                    if estimate < self.below:
                        costs[then] = cost
                        self.came[then] = (state, operator)
                        rank = (-then.place, estimate)
                        heapq.heappush(queue, (*(rank if self.far_first else rank[::-1]), then))
        return Found(None, complete=not queue)

    def _is_end(self, state: _State) -> bool:
        return state.place == len(self.space.backward)

    def _way(self, state: _State) -> tuple[Operator, ...]:
        found = []
        while state in self.came:
            state, operator = self.came[state]
            if operator is not None:
                found.append(operator)
        return tuple(found[::-1])

    def _estimate(self, state: _State) -> float:
        """FLOPs of all that must run again before the end; infinite if that is impossible."""
        makers, there, total = self.space.makers, state.live, 0.0
        missing = self.space.needed[state.place] & ~there
        while missing:
            run = makers.get(missing & -missing)
            if run is None or state.place > run.until:
                return float("inf")
            total += run.flops
            there |= run.makes
            missing = (missing | run.reads) & ~there
        return total

    def _moves(self, state: _State) -> Iterator[_Move]:
        live, place = state
        space, crowded = self.space, False
        room = self.budget - space.fixed[place] - space.bytes_of(live)
        if place < len(space.backward) and not space.lasting & ~live:
            run = space.backward[place]
            if not run.reads & ~live:
                for then in _then(run, live, room):
                    yield _Move(run.operator, 0, _State(then, place + 1))
                crowded = run.new > room
        for run in space.forward:
            again = run.makes & live  # of several results some may be there still
            if run.reads & ~live or again == run.makes or place > run.until:
                continue
            more = room + space.bytes_of(again)
            for then in _then(run, live & ~again, more):
                yield _Move(run.operator, run.flops, _State(then, place))
            crowded |= run.new > more
        if crowded:
            for bit in bits(live & ~space.lasting):
                yield _Move(None, 0, _State(live & ~bit, place))


def _then(run: Run, live: int, room: int) -> Iterator[int]:
    """What may be live after ``run``; it writes over what it can only where it must."""
    if run.new <= room:
        yield live | run.makes
        return
    for over, less in run.over:
        if run.new - less <= room:
            yield (live | run.makes) & ~over
