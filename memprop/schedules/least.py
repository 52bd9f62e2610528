"""The plan that needs the least memory: the recurrence of need instead of cost.

Solved in true bytes, so that a budget that can be kept to is always found.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from memprop.schedules.backtrack import Decision, backtrack
from memprop.schedules.chain import Chain
from memprop.schedules.grid import Terms
from memprop.schedules.plan import StageAction


def actions(chain: Chain) -> Iterator[StageAction]:
    """The memory-persistent plan of least peak."""
    best = _choices(chain)
    return backtrack(len(chain), None, lambda i, j, _: Decision(best[i, j]))


@lru_cache(maxsize=8)
def _choices(chain: Chain) -> dict[tuple[int, int], int]:
    """For each part the k, or i for a full forward, that needs the least memory."""
    terms, n = Terms(chain, unit=1), len(chain)
    need = [np.zeros(max(n - i + 1, 0), dtype=np.int64) for i in range(n + 1)]
    stored = [np.zeros(j + 1, dtype=np.int64) for j in range(n + 1)]  # a_(k-1) and the part k..j
    best: dict[tuple[int, int], int] = {}
    for j in range(1, n + 1):
        for i in range(j, 0, -1):
            rest = terms.saved[i] + int(need[i + 1][j - i - 1]) if i < j else 0
            least, best[i, j] = max(terms.full(i, j), rest), i
            if i < j:
                keeping = np.maximum(terms.runs(i, j), stored[j][i + 1 :])
                np.maximum(keeping, need[i][: j - i], out=keeping)
                place = int(np.argmin(keeping))
                if keeping[place] < least:
                    least, best[i, j] = int(keeping[place]), i + 1 + place
            need[i][j - i] = least
            stored[j][i] = terms.sizes[i - 1] + least
    return best
