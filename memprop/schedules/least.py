"""The plan that needs the least memory: the recurrence of need instead of cost.

Solved in true bytes, so that a budget that can be kept to is always found. Of the ways of a full
forward the cheapest is taken that this least leaves room for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from memprop.schedules.backtrack import Decision, backtrack
from memprop.schedules.chain import Chain
from memprop.schedules.grid import Terms, WayTerms
from memprop.schedules.plan import StageAction


def actions(chain: Chain) -> Iterator[StageAction]:
    """The memory-persistent plan of least peak."""
    n, solved = len(chain), _solve(chain)

    def decide(i: int, j: int, room: int) -> Decision:
        k = solved.best[i, j]
        if k > i:
            return Decision(k, room - chain.sizes[k - 1], room)
        way = next(way for way in solved.terms.ways[i] if solved.full(i, j, way) <= room)
        return Decision(i, room - way.saved, way=way.number)

    return backtrack(n, int(solved.need[1][n - 1]), decide)


@dataclass(frozen=True, eq=False)
class Solved:
    """The solved recurrence.

    Attributes:
        terms: the thresholds of the chain, in bytes.
        need: ``need[i][j - i]`` is the least memory of the part i..j.
        best: for each part the k, or i for a full forward, that needs the least memory.
    """

    terms: Terms
    need: list[np.ndarray]
    best: dict[tuple[int, int], int]

    def full(self, i: int, j: int, way: WayTerms) -> int:
        """The least memory with a full forward of i in this way."""
        rest = way.saved + int(self.need[i + 1][j - i - 1]) if i < j else 0
        return max(self.terms.full(j, way), rest)


@lru_cache(maxsize=8)
def _solve(chain: Chain) -> Solved:
    terms, n = Terms(chain, unit=1), len(chain)
    need = [np.zeros(max(n - i + 1, 0), dtype=np.int64) for i in range(n + 1)]
    stored = [np.zeros(j + 1, dtype=np.int64) for j in range(n + 1)]  # a_(k-1) and the part k..j
    best: dict[tuple[int, int], int] = {}
    solved = Solved(terms, need, best)
    for j in range(1, n + 1):
        for i in range(j, 0, -1):
            least, best[i, j] = min(solved.full(i, j, way) for way in terms.ways[i]), i
            if i < j:
                keeping = np.maximum(terms.runs(i, j), stored[j][i + 1 :])
                np.maximum(keeping, need[i][: j - i], out=keeping)
                place = int(np.argmin(keeping))
                if keeping[place] < least:
                    least, best[i, j] = int(keeping[place]), i + 1 + place
            need[i][j - i] = least
            stored[j][i] = terms.sizes[i - 1] + least
    return solved
