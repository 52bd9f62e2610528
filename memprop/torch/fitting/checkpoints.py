"""Recomputation that lets a step fit, found with few simulations."""

from dataclasses import dataclass

import torch
from torch import nn

from memprop.errors import InvalidValueError
from memprop.torch.checkpoint.plan import CheckpointPlan
from memprop.torch.checkpoint.planning import planning
from memprop.torch.fitting.job import Job, Made


@dataclass(frozen=True)
class Plans:
    """What can be recomputed, from the least memory to the least time.

    Attributes:
        made: the model that the plans are for.
        plans: by rising peak of live bytes, about; none of them keeps everything.
    """

    made: Made
    plans: tuple[CheckpointPlan, ...]

    def cheapest_within(self, room: int) -> int:
        """The number of the cheapest plan whose step has at most so many live bytes; 0 if none."""
        fitting = [place for place, plan in enumerate(self.plans) if plan.peak <= room]
        return max(fitting, default=0)

    def carried_out(self, place: int) -> Made:
        """The model with a plan."""
        module = self.made.module
        assert isinstance(module, nn.Module)  # noqa: S101 - plans are made of no other
        return self.made._replace(module=self.plans[place].apply(module))


def plans_of(job: Job, batch: int) -> Plans:
    """What the model needs, and what that leaves to choose.

    Raises:
        MempropError: nothing is gained by computing something again.
    """
    made = job.made(batch)
    module = made.module
    if not isinstance(module, nn.Module):
        with torch.device("meta"):
            module = module()
        made = made._replace(module=module)
    options = job.options_for(made)
    for steps in ("warmup", "mode"):  # plans are for training steps after the first
        options.pop(steps, None)
    with planning(module, made.inputs, **options) as step:
        plans = [step.plan(one, one.outcome.peak) for one in step.curve(100) if one.choice]
    if not plans:
        raise InvalidValueError("nothing is kept that could be computed again with less memory")
    return Plans(made, tuple(plans))
