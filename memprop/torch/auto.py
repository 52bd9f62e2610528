"""What to compute again, chosen from a byte budget."""

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, SupportsIndex

import torch
from torch import nn

from memprop.schedules.optimal import check_budget
from memprop.torch.checkpoint.plan import CheckpointPlan
from memprop.torch.checkpoint.planning import planning
from memprop.torch.inputs import Loss
from memprop.torch.keywords import renamed_keyword
from memprop.torch.task import Optimizer

if TYPE_CHECKING:
    import pandas as pd


@renamed_keyword("accumulate", "micro_batches")
def auto_checkpoint(
    module: nn.Module,
    inputs: Any,
    budget: str | SupportsIndex,
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
    compiled: bool = False,
    explain: bool = False,
) -> nn.Module:
    """The module with as little computed again as a byte budget for its training step asks for.

    Every operator of the forward pass is looked at: what it makes is kept for the backward pass, or
    computed again there, by itself or with all operators of its stage, or of several stages. What
    comes to be kept is worked out for a step that ran on fake tensors, and confirmed in a simulated
    step of the planned module.

    What runs again are PyTorch's operators, with the operands that they had, and no code of the
    module's: hooks, counters, caches and running statistics see one forward pass, and random
    operators draw the same numbers again. Outputs and gradients are those of ``module``, bit by bit
    where its kernels are deterministic. What cannot run again is kept, and named in the plan.

    Args:
        module: any module; not changed. It may be on the "meta" device.
        inputs: as those of the step, in shape and type; see :func:`memprop.torch.trace`.
        budget: for everything that is live in a step, parameters, gradients and the optimizer's
            state included: bytes, or a text such as "8 GiB". With ``device="cuda"`` it is for what
            CUDA's allocator reserves.
        loss: as in :func:`memprop.torch.trace`.
        target: handed to ``loss`` after the output.
        optimizer: the optimizer, or a function that makes it; its state counts.
        autocast: the type of :class:`torch.autocast`.
        micro_batches: how often forward and backward run before the optimizer does (gradient
            accumulation); ``accumulate`` is its old name.
        blocks: the path of the list of modules that the plan's table has rows for; the one that
            saves most if not given.
        device: where to plan for; "cuda" needs no GPU, see :func:`memprop.torch.simulate`.
        gpu: which GPU "cuda" is.
        cost: what is held against memory: "flops", or "seconds": each of the step's operators is
            measured once where it would run, and what was measured is kept in the user's cache
            folder; for a GPU that is not there, and for what cannot be measured, seconds come from
            a roofline of its FLOP/s and bytes/s. A plan's ``slowdown`` is in this, and its
            ``estimated`` names the operators that were not measured. It is "flops" if not given,
            and "seconds" with ``offload``.
        compiled: plan for ``torch.compile(planned)``. Its peak is that of the graphs that the
            compiler is given, run operator by operator; Inductor, which fuses operators, takes
            about as many bytes or somewhat fewer. The module must be one graph.
        offload: "cpu" lets a result wait in the host's pinned memory until the backward pass, if
            copying it there and back takes less time than computing it again. The copies are made
            in the stream of the computation. For modules on a GPU.
        bandwidth: bytes a second that are copied to the host, or back, as 25e9 or "25 GB"; if not
            given it is measured, or that of the PCIe link of a GPU that is not here.
        explain: the old way to :func:`memprop.torch.checkpoint_plan`, which returns a table.

    Returns:
        A module with the same parameters and buffers, and the same keys in ``state_dict``; its
        attribute ``plan`` is the :class:`memprop.torch.CheckpointPlan`, and ``checkpoint_plan`` the
        table of :func:`memprop.torch.checkpoint_plan`.

    Raises:
        InfeasibleBudget: no plan keeps to the budget; the error names the smallest that one does.
        MempropError: an argument is wrong.
    """
    if explain:
        warnings.warn(
            "auto_checkpoint(explain=True) is called mpt.checkpoint_plan(...) now",
            DeprecationWarning,
            stacklevel=3,
        )
    plan = plan_for(
        module,
        inputs,
        budget,
        blocks=blocks,
        loss=loss,
        target=target,
        optimizer=optimizer,
        autocast=autocast,
        micro_batches=micro_batches,
        device=device,
        gpu=gpu,
        cost=cost,
        offload=offload,
        bandwidth=bandwidth,
        compiled=compiled,
    )
    if explain:
        table: Any = plan.table
        return table
    return plan.apply(module)


@renamed_keyword("accumulate", "micro_batches")
def checkpoint_plan(
    module: nn.Module,
    inputs: Any,
    budget: str | SupportsIndex,
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
    compiled: bool = False,
) -> "pd.DataFrame":
    """What :func:`memprop.torch.auto_checkpoint` would compute again, as a table.

    The arguments and the errors are those of :func:`memprop.torch.auto_checkpoint`.

    Returns:
        A row per block: ``block``, ``runs`` (how often one of its operators runs forward in a step,
        at most), ``keeps`` ("all" that its backward reads, "some" of it, or "nothing" but what it
        is given), ``depth`` (within how many groups that run again it is), ``saved_bytes`` (what
        its backward reads of what it makes), ``kept_bytes`` (how much of that is kept),
        ``forward_flops``, ``recomputed_flops``. Its ``attrs`` have ``budget``, ``predicted_peak``
        and ``peak_without`` in bytes, ``slowdown``, ``recomputed_flops``, ``kept`` (what cannot
        run again, and why), ``cost``, and ``estimated``.
    """
    return plan_for(
        module,
        inputs,
        budget,
        blocks=blocks,
        loss=loss,
        target=target,
        optimizer=optimizer,
        autocast=autocast,
        micro_batches=micro_batches,
        device=device,
        gpu=gpu,
        cost=cost,
        offload=offload,
        bandwidth=bandwidth,
        compiled=compiled,
    ).table


def plan_for(
    module: nn.Module, inputs: Any, budget: str | SupportsIndex, **options: Any
) -> CheckpointPlan:
    """The plan that :func:`auto_checkpoint` carries out; the arguments are its own."""
    room = check_budget(budget)
    with planning(module, inputs, **options) as step:
        return replace(step.within(room), budget=room)
