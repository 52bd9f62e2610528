"""Every trade of memory for time that is worth making in a module's training step."""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from memprop.checks import check_positive_integer
from memprop.torch.checkpoint.planning import planning
from memprop.torch.inputs import Loss
from memprop.torch.task import Optimizer

if TYPE_CHECKING:
    import pandas as pd


def frontier(
    module: nn.Module,
    inputs: Any,
    *,
    loss: Loss | None = None,
    target: Any = None,
    optimizer: Optimizer | None = None,
    autocast: torch.dtype | None = None,
    micro_batches: int = 1,
    blocks: str | None = None,
    device: torch.device | str | None = None,
    gpu: str = "h100",
    cost: str | None = None,
    offload: str | None = None,
    bandwidth: str | float | None = None,
    points: int = 64,
) -> "pd.DataFrame":
    """The plans that are worth their memory, from the least of it to the least time.

    Args:
        module: as in :func:`memprop.torch.auto_checkpoint`, as all that follow.
        inputs: of the step.
        loss: a function of the output, and of the target if there is one.
        target: handed to ``loss`` after the output.
        optimizer: the optimizer, or a function that makes it.
        autocast: the type of :class:`torch.autocast`.
        micro_batches: how often forward and backward run before the optimizer does.
        blocks: the path of the list of modules that plans are told by.
        device: where to plan for; "cuda" needs no GPU.
        gpu: which GPU "cuda" is.
        cost: what is held against memory, "flops" or "seconds"; "flops" if not given, and "seconds"
            with ``offload``.
        offload: "cpu" lets what is kept wait in the host's memory.
        bandwidth: bytes a second that are copied to the host, or back.
        points: how many plans there are, about.

    Returns:
        A row per plan, by rising ``peak_bytes`` (live bytes of the whole step, worked out from one
        simulated step) and falling ``slowdown`` (the predicted time of a step over that of one that
        keeps everything); ``saved_bytes``, ``recomputed_flops``, ``offloaded_bytes`` (what waits on
        the host), and ``plan``: a :class:`memprop.torch.CheckpointPlan`, to be carried out by its
        ``apply(module)``. The last row keeps everything. :func:`memprop.plot.frontier` draws it.

    Raises:
        MempropError: an argument is wrong.
    """
    import pandas as pd

    options = {
        "loss": loss,
        "target": target,
        "optimizer": optimizer,
        "autocast": autocast,
        "micro_batches": micro_batches,
        "device": device,
        "gpu": gpu,
        "cost": cost,
        "offload": offload,
        "bandwidth": bandwidth,
    }
    count = check_positive_integer("points", points)
    with planning(module, inputs, blocks=blocks, **options) as step:
        plans = [step.plan(one, one.outcome.peak) for one in step.curve(count)]
    return pd.DataFrame(
        {
            "peak_bytes": [plan.peak for plan in plans],
            "slowdown": [plan.slowdown for plan in plans],
            "saved_bytes": [plan.saved_bytes for plan in plans],
            "recomputed_flops": [plan.recomputed_flops for plan in plans],
            "offloaded_bytes": [plan.offloaded_bytes for plan in plans],
            "plan": plans,
        }
    )
