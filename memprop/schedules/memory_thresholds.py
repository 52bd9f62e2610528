"""What the persistent recurrence asks of memory; shared by the planners that solve it.

A schedule is *memory-persistent* if what is stored stays until its own backward. For the part
i..j of a chain let m be the memory it may use: its input a_(i-1) is stored elsewhere, d_j is in m,
and so is what the stages behind j have left, G_j. The least cost is (Beaumont et al. 2019,
theorem 1, with the full forward held against d_j, which is what is live then)

    C(i, j, m) = min of
        full w   f_i + C(i+1, j, m - s_iw) + b_iw        if m >= full_w(i, j)
                 for each way w of stage i
        keep k   f_i + ... + f_(k-1) + C(k, j, m - a_(k-1)) + C(i, k-1, m)
                 for i < k <= j                          if m >= run(i, k) + d_j + G_j

    full_w(i, j) = max(s_iw + saving workspace_w + d_j + G_j,
                       s_iw + d_i + G_i + max(backward workspace_w + left_i, 0))
    run(i, k)    = max of a_i + workspace, and of a_(l-1) + a_l + workspace for i < l < k

and C(i, i, m) is ``full`` with nothing in between. Stages are numbered from 1. The theorem is on
stages of one way; several change its first line alone, as in Rockmate (Zhao et al., ICML 2023):
what lies between a full forward and its backward sees of the way only how much is kept.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from memprop.schedules.chain import Chain, Way


class NumberedWay(NamedTuple):
    """A way of a stage, and its place in :meth:`Chain.ways_of`."""

    number: int
    way: Way


@dataclass(frozen=True, slots=True)
class MemoryThresholds:
    """The thresholds of a chain.

    Attributes:
        chain: the chain.
        behind: G_j for j = 0..n: what the backwards of the stages behind j have left.
        prefix: the cost of running the first l stages forward, l = 0..n.
        ways: of each stage its ways by rising backward cost, way 0 first; left out are those that
            cost and need no less than one before them.
    """

    chain: Chain
    behind: tuple[int, ...]
    prefix: tuple[float, ...]
    ways: tuple[tuple[NumberedWay, ...], ...]

    @classmethod
    def of(cls, chain: Chain) -> "MemoryThresholds":
        """The thresholds of ``chain``."""
        left = accumulate(reversed(chain.retained_bytes), initial=0)
        prefix = tuple(accumulate(chain.forward_cost, initial=0))
        ways = tuple(
            _worthwhile(ways, retained)
            for ways, retained in zip(chain.every_way, chain.retained_bytes, strict=True)
        )
        return cls(chain, tuple(left)[::-1], prefix, ways)

    def full(self, i: int, j: int, way: Way) -> int:
        """The memory that a full forward of i in this way and its backward ask for."""
        saving = way.saved_bytes + way.saving_workspace
        return max(saving + self.chain.sizes[j] + self.behind[j], self.backward(i, way))

    def backward(self, i: int, way: Way) -> int:
        """The memory that the backward of i in this way asks for."""
        beside = self.chain.sizes[i] + self.behind[i]
        return beside + _backward_bytes(way, self.chain.retained_bytes[i - 1])

    def runs(self, i: int, j: int) -> list[int]:
        """The memory that keeping k asks for, k = i+1..j."""
        chain, sizes = self.chain, self.chain.sizes
        always = sizes[j] + self.behind[j]
        each = (
            sizes[stage]
            + chain.forward_workspace[stage - 1]
            + (sizes[stage - 1] if stage > i else 0)
            for stage in range(i, j)
        )
        return [always + most for most in accumulate(each, max)]

    def own_cost(self, i: int, way: Way) -> float:
        """The cost of stage i's forward and of its backward in this way."""
        return self.chain.forward_cost[i - 1] + way.backward_cost


def _backward_bytes(way: Way, retained: int) -> int:
    # What it frees (a negative retained_bytes) is there until it runs.
    return way.saved_bytes + max(way.backward_workspace + retained, 0)


def _worthwhile(ways: tuple[Way, ...], retained: int) -> tuple[NumberedWay, ...]:
    kept: list[NumberedWay] = []
    needs: list[tuple[int, int, int]] = []
    numbered = (NumberedWay(number, way) for number, way in enumerate(ways))
    for one in sorted(numbered, key=lambda one: one.way.backward_cost):
        way = one.way
        need = (
            way.saved_bytes,
            way.saved_bytes + way.saving_workspace,
            _backward_bytes(way, retained),
        )
        if not any(all(a <= b for a, b in zip(less, need, strict=True)) for less in needs):
            kept.append(one)
            needs.append(need)
    return tuple(kept)
