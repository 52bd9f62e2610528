"""The persistent recurrence solved on a grid of memory levels, for long chains.

Memory is counted in units: what a schedule needs is rounded up, what it has is rounded down, so a
plan never takes more than it was given. For a part i..j all levels are one row, and all choices of
k one block of rows, so that the innermost loops are NumPy's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from memprop.schedules.backtrack import Decision, backtrack
from memprop.schedules.chain import Chain
from memprop.schedules.memory_thresholds import MemoryThresholds
from memprop.schedules.plan import StageAction


@dataclass(frozen=True, eq=False)
class Grid:
    """The solved recurrence.

    Attributes:
        terms: the thresholds of the chain.
        cost: ``cost[i][j - i]`` is C(i, j, m) for every level m.
        shifted: ``shifted[j][k]`` is C(k, j, m - a_(k-1)) and the forward cost of stages 1..k-1.
        known: choices that were asked for: plans for neighbouring levels share most of theirs.
    """

    terms: "Terms"
    cost: list[np.ndarray]
    shifted: list[np.ndarray]
    known: dict[tuple[int, int, int], Decision] = field(default_factory=dict)

    def levels(self) -> np.ndarray:
        """The least cost of the whole chain at every level."""
        return self.cost[1][-1]

    def actions(self, level: int) -> Iterator[StageAction]:
        """The plan of least cost at this level."""
        known = self.known

        def decide(i: int, j: int, now: int) -> Decision:
            found = known.get((i, j, now))
            if found is None:
                found = known[i, j, now] = self._choice(i, j, now)
            return found

        return backtrack(len(self.terms.chain), level, decide)

    def _choice(self, i: int, j: int, level: int) -> Decision:
        """The best choice at this level."""
        terms = self.terms
        if level >= terms.enough[i][j - i]:
            return Decision(0)
        best = self.cost[i][j - i, level]
        for way in terms.ways[i]:
            after = level - way.saved
            if after < 0:
                continue
            cost = way.own + self.cost[i + 1][j - i - 1, after] if i < j else way.own
            if cost <= best and level >= terms.full(j, way):
                return Decision(i, after, way=way.number)
        total = self.cost[i][: j - i, level] + self.shifted[j][i + 1 : j + 1, level]
        total[terms.runs(i, j) > level] = np.inf
        k = i + 1 + int(np.argmin(total))
        return Decision(k, level - terms.sizes[k - 1], level)


class WayTerms(NamedTuple):
    """A way of a stage.

    Attributes:
        number: its place among the stage's ways.
        own: the cost of forward and backward.
        saved: the levels that what it keeps takes, rounded up.
        saving: the bytes of its full forward, what is kept included.
        back: the bytes that its backward asks for.
    """

    number: int
    own: float
    saved: int
    saving: int
    back: int


class Terms:
    """The thresholds of a chain in levels, rounded up."""

    def __init__(self, chain: Chain, unit: int) -> None:
        self.chain, self.unit = chain, unit
        self.needs = MemoryThresholds.of(chain)
        n = len(chain)
        self.sizes = [self.up(size) for size in chain.sizes]
        self.ways: list[list[WayTerms]] = [[], *(self._ways(i) for i in range(1, n + 1))]
        self.always = [
            size + left for size, left in zip(chain.sizes, self.needs.behind, strict=True)
        ]
        # What running on from i needs grows with k: kept once as an array, once as its few steps.
        self.most = [np.zeros(0, dtype=np.int64)]
        self.most += [
            np.array(self.needs.runs(i, n), dtype=np.int64) - self.always[n]
            for i in range(1, n + 1)
        ]
        self.steps = [_steps(most) for most in self.most]
        self.enough = self._enough(n)

    def _ways(self, i: int) -> list[WayTerms]:
        """Those of stage i, way 0 first and with it the cheapest."""
        needs = self.needs
        return [
            WayTerms(
                number,
                float(needs.own_cost(i, way)),
                self.up(way.saved_bytes),
                way.saved_bytes + way.saving_workspace,
                needs.backward(i, way),
            )
            for number, way in needs.ways[i - 1]
        ]

    def _enough(self, n: int) -> list[list[int]]:
        """For i and j - i the level from which on nothing is computed twice, all in way 0."""
        table: list[list[int]] = [[]] + [[0] * (n - i + 1) for i in range(1, n + 1)]
        for j in range(1, n + 1):
            enough = 0
            for i in range(j, 0, -1):
                first = self.ways[i][0]
                enough = max(self.full(j, first), first.saved + enough)
                table[i][j - i] = enough
        return table

    def up(self, size: int) -> int:
        """The levels that hold ``size`` bytes."""
        return -(-size // self.unit)

    def full(self, j: int, way: WayTerms) -> int:
        """The level that a full forward in this way asks for, in a part that ends with j."""
        return max(-(-max(way.saving + self.always[j], way.back) // self.unit), 0)

    def runs(self, i: int, j: int) -> np.ndarray:
        """For k = i+1..j the level that keeping k asks for."""
        return -(-(self.most[i][: j - i] + self.always[j]) // self.unit)

    def changes(self, i: int, j: int) -> Iterator[tuple[int, int]]:
        """The places k - i - 1 from which on keeping k asks for a higher level, with the level."""
        for place, most in self.steps[i]:
            if place >= j - i:
                return
            yield place, max(self.up(most + self.always[j]), 0)


def _steps(most: np.ndarray) -> list[tuple[int, int]]:
    """Where a sequence that never falls rises, and to what."""
    rises = np.flatnonzero(np.diff(most, prepend=-1))
    return [(int(place), int(most[place])) for place in rises]


@lru_cache(maxsize=2)
def solve(chain: Chain, unit: int, top: int) -> Grid:
    """The recurrence for ``chain`` at the levels 0..top of ``unit`` bytes."""
    n, width = len(chain), top + 1
    cost = [np.full((n - i + 1 if i else 0, width), np.inf) for i in range(n + 1)]
    shifted = [np.full((j + 1, width), np.inf) for j in range(n + 1)]
    terms = Terms(chain, unit)
    grid = Grid(terms, cost, shifted)
    block = np.empty(n * width)
    for j in range(1, n + 1):
        for i in range(j, 0, -1):
            _fill(grid, block, i, j, min(terms.enough[i][j - i], width))
    return grid


def _fill(grid: Grid, block: np.ndarray, i: int, j: int, enough: int) -> None:
    """Compute C(i, j) from the parts inside."""
    terms, row = grid.terms, grid.cost[i][j - i]
    width, prefix = row.size, terms.needs.prefix
    first, *others = terms.ways[i]
    _full(grid, i, j, first, row)
    for way in others:
        _full(grid, i, j, way, row[:enough])
    if i < j:
        _keep(grid, block, i, j, enough)
    stored = terms.sizes[i - 1]
    if stored < width:
        np.add(row[: width - stored], prefix[i - 1], out=grid.shifted[j][i, stored:])


def _full(grid: Grid, i: int, j: int, way: WayTerms, row: np.ndarray) -> None:
    """Take into ``row`` what a full forward of i in this way makes possible."""
    saved = way.saved
    first = max(grid.terms.full(j, way), saved)
    if first >= row.size:
        return
    target = row[first:]
    if i == j:
        np.minimum(target, way.own, out=target)
    else:
        rest = grid.cost[i + 1][j - i - 1, first - saved : row.size - saved]
        np.minimum(target, rest + way.own, out=target)


def _keep(grid: Grid, block: np.ndarray, i: int, j: int, enough: int) -> None:
    """The best k at every level below ``enough``."""
    terms = grid.terms
    changes = list(terms.changes(i, j))
    low = changes[0][1]
    if low >= enough:
        return
    row = grid.cost[i][j - i]
    # Whole rows lie one behind the other: NumPy adds them faster than parts of them.
    begin, end = (0, row.size) if 4 * (enough - low) > 3 * row.size else (low, enough)
    left, right = grid.cost[i][: j - i, begin:end], grid.shifted[j][i + 1 : j + 1, begin:end]
    total = np.add(left, right, out=block[: left.size].reshape(left.shape))
    for place, level in changes[1:]:
        total[place:, : max(level - begin, 0)] = np.inf
    best = total.min(axis=0)[low - begin : enough - begin]
    best -= terms.needs.prefix[i - 1]
    np.minimum(row[low:enough], best, out=row[low:enough])
