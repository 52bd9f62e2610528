"""Checkpoints that let a step fit, found with few simulations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from memprop.errors import InvalidValueError
from memprop.schedules.optimal import frontier_plans
from memprop.schedules.plan import Plan
from memprop.torch.checkpoint.as_chain import ModuleChain, as_chain
from memprop.torch.checkpoint.checkpointed import checkpointed
from memprop.torch.checkpoint.explained import recomputed_flops
from memprop.torch.checkpoint.segments import Part, in_blocks, segments, times_run
from memprop.torch.fake.simulated import without_memory
from memprop.torch.fitting.job import Job, Made
from memprop.torch.inputs import check_module
from memprop.torch.recorded import recorded
from memprop.torch.state.start import left_as_it_was
from memprop.torch.task import warm_up


class Told(NamedTuple):
    """What a plan recomputes: so many blocks of so many, and those at the ends of them.

    ``slower`` is by what fraction a step has more FLOPs.
    """

    again: int
    of: int
    first: str
    last: str
    slower: float


@dataclass(frozen=True)
class Plans:
    """What can be recomputed, from the least memory to the least time.

    Attributes:
        made: the model that the plans are for.
        seen: its blocks, as a chain.
        plans: those of the chain, by rising peak; the last one recomputes nothing.
    """

    made: Made
    seen: ModuleChain
    plans: tuple[Plan, ...]

    def cheapest_within(self, room: int) -> int:
        """The number of the cheapest plan whose step has at most so many live bytes; 0 if none."""
        recomputing = range(len(self.plans) - 1)
        fitting = [place for place in recomputing if self.peak(place) <= room]
        return max(fitting, default=0)

    def peak(self, place: int) -> int:
        """Live bytes of a whole step of a plan, about."""
        return self.plans[place].peak + self._beside

    @property
    def _beside(self) -> int:
        """Live bytes that are not in the chain, such as parameters."""
        return self.seen.trace.peak - self.plans[-1].peak

    def carried_out(self, place: int) -> Made:
        """The model with a plan."""
        module = self.made.module
        assert isinstance(module, nn.Module)  # noqa: S101 - plans are made of no other
        twin = checkpointed(module, self.seen.blocks.traits, self._parts(place))
        return self.made._replace(module=twin)

    def told(self, place: int) -> Told:
        """What a plan recomputes."""
        parts = self._parts(place)
        again = sorted(block for block, runs in times_run(parts).items() if runs > 1)
        names = [self.seen.blocks.names[number] for number in again]
        work = sum(self.seen.chain.forward_cost) + sum(self.seen.chain.backward_cost)
        slower = recomputed_flops(self.seen, parts) / max(work, 1)
        return Told(len(names), len(self.seen.blocks.names), names[0], names[-1], slower)

    def _parts(self, place: int) -> Sequence[Part]:
        return in_blocks(segments(self.plans[place]), self.seen.units)


def plans_of(job: Job, batch: int) -> Plans:
    """What the blocks of the model need, and what that leaves to choose.

    Raises:
        MempropError: the model has no blocks that run one after the other, or nothing is gained by
            computing them again.
    """
    made = job.made(batch)
    if not isinstance(made.module, nn.Module):
        with torch.device("meta"):
            made = made._replace(module=made.module())
    check_module(made.module)
    options = job.options_for(made)
    options.pop("warmup", None)
    with (
        left_as_it_was(made.module, made.inputs, options.get("loss"), made.target),
        without_memory(made.module, made.inputs, **options) as task,
    ):
        warm_up(task, 1, partial(recorded, real=False))
        seen = as_chain(replace(task, micro_batches=1), None)
    plans = frontier_plans(seen.chain)
    if len(plans) == 1:
        raise InvalidValueError("no block keeps more than what a second run of it needs")
    return Plans(made, seen, plans)
