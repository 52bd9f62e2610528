"""The persistent recurrence solved in true bytes, for all budgets at once; for short chains.

C(i, j, m) falls in steps as m grows, so it is kept as the list of its steps: how much memory is
needed for which cost, and what to do. No size is rounded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from memprop.schedules.backtrack import Decision, backtrack
from memprop.schedules.chain import Chain
from memprop.schedules.memory_thresholds import MemoryThresholds
from memprop.schedules.plan import StageAction

LONGEST: Final = 12
"""Stages up to which this is fast: the number of steps grows quickly beyond."""

MOST_WAYS: Final = 96
"""And ways of all stages together."""


@dataclass(frozen=True, slots=True)
class Full:
    """Run the first stage fully in one of its ways, then the rest, then its backward."""

    need: int
    cost: float
    rest: "Choice | None"
    way: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Run up to stage k, keep its input, do the part from k on and then the part before it."""

    need: int
    cost: float
    k: int
    right: "Choice"
    left: "Choice"


Choice = Full | Keep


def is_short(chain: Chain) -> bool:
    """Whether the chain is solved in less than about a second."""
    return len(chain) <= LONGEST and sum(map(len, chain.every_way)) <= MOST_WAYS


@lru_cache(maxsize=32)
def choices(chain: Chain) -> tuple[Choice, ...]:
    """The best choices for the whole chain, by rising need and falling cost."""
    needs = MemoryThresholds.of(chain)
    n = len(chain)
    table: dict[tuple[int, int], list[Choice]] = {}
    for i in range(n, 0, -1):
        for j in range(i, n + 1):
            table[i, j] = _steps([*_full(needs, table, i, j), *_keeping(needs, table, i, j)])
    return tuple(table[1, n])


def _full(
    needs: MemoryThresholds, table: dict[tuple[int, int], list[Choice]], i: int, j: int
) -> list[Choice]:
    found: list[Choice] = []
    for number, way in needs.ways[i - 1]:
        least, own, saved = needs.full(i, j, way), needs.own_cost(i, way), way.saved_bytes
        if i == j:
            found.append(Full(least, own, None, number))
        else:
            found += [
                Full(max(least, saved + r.need), own + r.cost, r, number) for r in table[i + 1, j]
            ]
    return found


def _keeping(
    needs: MemoryThresholds, table: dict[tuple[int, int], list[Choice]], i: int, j: int
) -> list[Choice]:
    found: list[Choice] = []
    for k, least in enumerate(needs.runs(i, j), start=i + 1):
        run = needs.prefix[k - 1] - needs.prefix[i - 1]
        stored = needs.chain.sizes[k - 1]
        for need, right, left in _pairs(least, stored, table[k, j], table[i, k - 1]):
            found.append(Keep(need, run + right.cost + left.cost, k, right, left))
    return found


def _pairs(
    least: int, stored: int, rights: Sequence[Choice], lefts: Sequence[Choice]
) -> Iterator[tuple[int, Choice, Choice]]:
    """For every need at which one of two lists has a next step, the last step of both that fits."""
    needs = {max(least, stored + right.need) for right in rights}
    needs |= {max(least, left.need) for left in lefts}
    a = b = 0
    for need in sorted(needs):
        if stored + rights[0].need > need or lefts[0].need > need:
            continue
        while a + 1 < len(rights) and stored + rights[a + 1].need <= need:
            a += 1
        while b + 1 < len(lefts) and lefts[b + 1].need <= need:
            b += 1
        yield need, rights[a], lefts[b]


def _steps(found: list[Choice]) -> list[Choice]:
    """Those that cost less than every other with as little need."""
    kept: list[Choice] = []
    for choice in sorted(found, key=lambda c: (c.need, c.cost)):
        if not kept or choice.cost < kept[-1].cost:
            kept.append(choice)
    return kept


def actions(chain: Chain, choice: Choice) -> Iterator[StageAction]:
    """What ``choice``, one for the whole chain, means."""

    def decide(i: int, _: int, state: Choice) -> Decision:
        if isinstance(state, Keep):
            return Decision(state.k, state.right, state.left)
        return Decision(i, state.rest, way=state.way)

    return backtrack(len(chain), choice, decide)
