"""One training step of a PyTorch module, run or simulated, as a trace."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from memprop.torch.fake.simulated import without_memory
from memprop.torch.inputs import Loss, check_module, check_real
from memprop.torch.keywords import renamed_keyword
from memprop.torch.record.peaks import CudaPeaks
from memprop.torch.recorded import recorded
from memprop.torch.task import Optimizer, run, task, warm_up
from memprop.traces.trace import Trace


@renamed_keyword("accumulate", "micro_batches")
def trace(
    module: nn.Module,
    inputs: Any,
    *,
    loss: Loss | None = None,
    target: Any = None,
    optimizer: Optimizer | None = None,
    mode: str = "train",
    autocast: torch.dtype | None = None,
    micro_batches: int = 1,
    warmup: int = 0,
    lines: bool = False,
) -> Trace:
    """Run one real step (forward, loss, backward, optimizer) and trace every storage.

    The step does to the module what a step does: gradients are added to ``.grad``, the optimizer
    updates the parameters, batch norm its statistics. As in the usual training loop the output and
    the loss are held until the step ends. On CUDA the peaks that its allocator counts are reset
    before the step; the trace has them as ``allocated_peak`` and ``reserved_peak``.

    Args:
        module: any module.
        inputs: a tensor; a tuple or list, the arguments of the module by place; or a mapping, its
            arguments by name. Anything else is one argument, a named tuple too.
        loss: a function of the module's output, and of ``target`` if there is one, that returns a
            scalar. Without it the output is the loss if it is a scalar or has one under "loss",
            and else the sum of what is differentiable in the output.
        target: handed to ``loss`` after the output.
        optimizer: the optimizer that updates the parameters, or a function that makes it of the
            parameters; none if not given. State that it creates lazily is born in its first step:
            ask for ``warmup=1`` to see a step as all later ones are.
        mode: "train", or "inference" for the forward pass alone. It runs under
            :func:`torch.no_grad`, unless the module itself asks for gradients, as a model of forces
            does.
        autocast: the type of :class:`torch.autocast`, in which the forward pass and the loss run.
        micro_batches: how often forward and backward run before the optimizer does (gradient
            accumulation); ``accumulate`` is its old name.
        warmup: steps to run before the one that is traced.
        lines: whether variables know the line of your program that made them
            (``trace.variables[0].line``).

    Returns:
        The trace. ``outputs`` has the "loss" and the "gradients" by parameter, or the "prediction"
        of an inference.

    Raises:
        MempropError: an argument is wrong; the message says which and what was expected. If the
            step itself fails, its own exception is raised, with the trace up to there as the
            attribute ``trace``.
    """
    check_module(module)
    check_real(module)
    parts = {"loss": loss, "target": target, "mode": mode, "autocast": autocast}
    todo = task(module, inputs, optimizer, micro_batches, **parts)
    warm_up(todo, warmup)
    peaks = CudaPeaks(todo.device)
    found = recorded(todo, real=True, lines=lines)
    counted = peaks.since()
    return replace(found, about={**found.about, **counted}) if counted else found


@renamed_keyword("accumulate", "micro_batches")
def simulate(
    module: nn.Module | Callable[[], nn.Module],
    inputs: Any,
    *,
    loss: Loss | None = None,
    target: Any = None,
    optimizer: Optimizer | None = None,
    mode: str = "train",
    autocast: torch.dtype | None = None,
    micro_batches: int = 1,
    warmup: int = 0,
    device: torch.device | str | None = None,
    gpu: str = "h100",
    lines: bool = False,
) -> Trace:
    """The trace of the same step, with no memory allocated and no arithmetic done.

    The step runs on fake tensors: shapes and types without numbers. A module too large for the
    machine is built on the "meta" device, or handed over as a function that builds it. The module
    and the optimizer are left as they were.

    Args:
        module: as in :func:`trace`, or a function without arguments that makes the module; it runs
            on fake tensors too.
        inputs: as in :func:`trace`, as all that follow but the last.
        loss: a function of the output, and of the target if there is one.
        target: handed to ``loss`` after the output.
        optimizer: an optimizer, or a function that makes it of the parameters.
        mode: "train" or "inference".
        autocast: the type of :class:`torch.autocast`.
        micro_batches: how often forward and backward run before the optimizer does (gradient
            accumulation); ``accumulate`` is its old name.
        warmup: steps before the one that is traced.
        device: where to pretend that everything is; where it is if not given, and on the CPU for
            what is on the "meta" device. "cuda" needs no GPU: the step takes the ways that it takes
            on ``gpu``, kernels' scratch included, and the trace has ``allocated_peak``,
            ``reserved_peak`` and ``segments()`` of PyTorch's CUDA allocator. What the program makes
            without saying where is on the CPU; all that it is given is on the GPU.
        gpu: which GPU "cuda" is: a name in :data:`memprop.cuda.gpus.GPUS`. Scratch was measured on
            an H100; for others it is computed from PyTorch's source where that says it, and as on
            an H100 elsewhere.
        lines: as in :func:`trace`.

    Raises:
        MempropError: an argument is wrong, or what the step does depends on the numbers in it,
            which a simulation does not have.
    """
    parts = {"loss": loss, "target": target, "mode": mode, "autocast": autocast}
    with without_memory(
        module,
        inputs,
        optimizer=optimizer,
        micro_batches=micro_batches,
        device=device,
        gpu=gpu,
        **parts,
    ) as todo:
        follow = partial(recorded, real=False, lines=lines)
        # The log of a pretended device begins with the first step.
        warm_up(todo, warmup, run if todo.pretence is None else follow)
        return follow(todo)
