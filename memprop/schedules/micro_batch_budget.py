"""``budget:BYTES+microbatch:m``: one order for all micro-batches, within a budget for the step.

A micro-batch is planned as a step of its own. What the whole step has besides (the inputs of the
other micro-batches, the gradients that add up) shows when the plan is laid over all micro-batches.
The next plan is made for a budget that is smaller by as much.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from memprop.errors import InfeasibleBudget
from memprop.graph.autodiff import differentiate
from memprop.graph.graph import Graph, Operator
from memprop.graph.optimizers import Optimizer
from memprop.schedules.budget import BudgetFraction, named, smallest, within_budget
from memprop.schedules.plan import infeasible
from memprop.schedules.recompute import as_built, in_that_order
from memprop.schedules.schedule import Schedule

_ROUNDS: Final = 8


def within_budget_in_micro_batches(
    name: str,
    given: int | BudgetFraction,
    forward: Graph,
    optimizer: Optimizer | None,
    batch: int,
    micro_batches: int,
) -> Schedule:
    """The schedule that takes a batch in micro-batches and keeps to a budget.

    Args:
        name: how a user names the schedule.
        given: bytes, or a share of the peak of "lean" with the batch taken as a whole.
        forward: the forward pass of a model.
        optimizer: updates the parameters.
        batch: samples of the step.
        micro_batches: into how many micro-batches it is taken.

    Raises:
        InfeasibleBudget: nothing fits; the error names the smallest budget that something fits.
    """
    whole = in_that_order("lean", as_built, forward, optimizer)
    budget = given.of(whole.peak_at(batch)) if isinstance(given, BudgetFraction) else given
    step = _MicroBatchedStep(name, forward, optimizer, batch, micro_batches)
    best = min(step.planned(budget), key=lambda found: found.flops_at(batch), default=None)
    for other in step.named():  # by rising cost
        if best is not None and other.flops_at(batch) >= best.flops_at(batch):
            break
        if other.peak_at(batch) <= budget:
            return other
    if best is None:
        best = step.smallest()
        if best.peak_at(batch) > budget:
            raise infeasible(budget, best.peak_at(batch))
    return best


@dataclass(frozen=True, slots=True)
class _MicroBatchedStep:
    """A step in micro-batches; an order for one of them makes a schedule."""

    name: str
    forward: Graph
    optimizer: Optimizer | None
    batch: int
    micro_batches: int

    @property
    def one(self) -> Graph:
        """The training step of one micro-batch."""
        return differentiate(self.forward)

    @property
    def rows(self) -> int:
        """The samples of a micro-batch."""
        return self.batch // self.micro_batches

    def schedule(self, order: Sequence[Operator]) -> Schedule:
        """The schedule in which every micro-batch runs in ``order``."""
        how = (self.forward, self.optimizer, "at_end", self.micro_batches)
        return in_that_order(self.name, lambda _: order, *how)

    def planned(self, budget: int) -> Iterator[Schedule]:
        """Schedules that stay within ``budget``."""
        room = budget
        for _ in range(_ROUNDS):
            try:
                order = within_budget(self.one, room, self.rows)
            except InfeasibleBudget:
                return
            found = self.schedule(order)
            left = budget - found.peak_at(self.batch)
            if left >= 0:
                yield found
            if left == 0 or (left > 0 and found.recomputed_flops_at(self.batch) == 0):
                return
            room += left

    def named(self) -> Iterator[Schedule]:
        """The strategies with a name, by rising cost."""
        yield self.schedule(self.one.operators)
        yield from (self.schedule(one.order) for one in named(self.one, self.rows))

    def smallest(self) -> Schedule:
        """What needs the least memory of all."""
        least = self.schedule(smallest(self.one, self.rows).order)
        return min((least, *self.named()), key=lambda found: found.peak_at(self.batch))
