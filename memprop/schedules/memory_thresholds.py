"""What the persistent recurrence asks of memory; shared by the planners that solve it.

A schedule is *memory-persistent* if what is stored stays until its own backward. For the part
i..j of a chain let m be the memory it may use: its input a_(i-1) is stored elsewhere, d_j is in m,
and so is what the stages behind j have left, G_j. The least cost is (Beaumont et al. 2019,
theorem 1, with the full forward held against d_j, which is what is live then)

    C(i, j, m) = min of
        full     f_i + C(i+1, j, m - s_i) + b_i          if m >= full(i, j)
        keep k   f_i + ... + f_(k-1) + C(k, j, m - a_(k-1)) + C(i, k-1, m)
                 for i < k <= j                          if m >= run(i, k) + d_j + G_j

    full(i, j) = max(s_i + saving workspace + d_j + G_j,
                     s_i + d_i + G_i + max(backward workspace + left_i, 0))
    run(i, k)  = max of a_i + workspace, and of a_(l-1) + a_l + workspace for i < l < k

and C(i, i, m) is ``full`` with nothing in between. Stages are numbered from 1.
"""

from dataclasses import dataclass
from itertools import accumulate

from memprop.schedules.chain import Chain


@dataclass(frozen=True, slots=True)
class MemoryThresholds:
    """The thresholds of a chain.

    Attributes:
        chain: the chain.
        behind: G_j for j = 0..n: what the backwards of the stages behind j have left.
        prefix: the cost of running the first l stages forward, l = 0..n.
    """

    chain: Chain
    behind: tuple[int, ...]
    prefix: tuple[float, ...]

    @classmethod
    def of(cls, chain: Chain) -> "MemoryThresholds":
        """The thresholds of ``chain``."""
        left = accumulate(reversed(chain.retained_bytes), initial=0)
        return cls(chain, tuple(left)[::-1], tuple(accumulate(chain.forward_cost, initial=0)))

    def full(self, i: int, j: int) -> int:
        """The memory that a full forward of i and its backward ask for."""
        chain = self.chain
        saving = chain.saved_bytes[i - 1] + chain.saving_workspace[i - 1]
        return max(saving + chain.sizes[j] + self.behind[j], self.backward(i))

    def backward(self, i: int) -> int:
        """The memory that the backward of i asks for."""
        chain = self.chain
        own = chain.saved_bytes[i - 1] + chain.sizes[i] + self.behind[i]
        # What it frees (a negative retained_bytes) is there until it runs.
        return own + max(chain.backward_workspace[i - 1] + chain.retained_bytes[i - 1], 0)

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

    def own_cost(self, i: int) -> float:
        """The cost of stage i's forward and backward."""
        return self.chain.forward_cost[i - 1] + self.chain.backward_cost[i - 1]
