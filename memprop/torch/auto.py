"""The layers to checkpoint, chosen from a byte budget."""

import warnings
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, SupportsIndex

import torch
from torch import nn

from memprop.errors import InvalidValueError, MempropError
from memprop.schedules.optimal import check_budget, frontier_plans
from memprop.schedules.plan import Plan, infeasible
from memprop.torch.checkpoint.as_chain import ModuleChain, as_chain
from memprop.torch.checkpoint.checkpointed import checkpointed
from memprop.torch.checkpoint.explained import recomputed_flops, table
from memprop.torch.checkpoint.segments import Part, in_blocks, segments
from memprop.torch.fake.simulated import without_memory
from memprop.torch.inputs import Loss, check_module
from memprop.torch.keywords import renamed_keyword
from memprop.torch.recorded import recorded
from memprop.torch.state.start import Start, left_as_it_was
from memprop.torch.task import Optimizer, Task, new_gradients_dropped, warm_up

if TYPE_CHECKING:
    import pandas as pd

_NEIGHBOURS = 3
"""A step may need a little more or less than its chain says, so plans near the best are tried."""


@dataclass(frozen=True)
class Choice:
    """What to recompute, and what that comes to.

    Attributes:
        parts: the blocks, and which of them are recomputed.
        peak: live bytes of a whole step, simulated.
    """

    parts: tuple[Part, ...]
    peak: int


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
    explain: bool = False,
) -> nn.Module:
    """The module with as many blocks recomputed as a byte budget for its training step asks for.

    The blocks, the parts of a ``ModuleList`` or ``Sequential`` that run one after the other, are
    measured on a simulated step and taken as a chain of stages (rotor's: see
    :mod:`memprop.schedules.chain`); the planner gives the plans that are worth their memory, and
    each that comes into question is tried in a simulated step of the whole module, until the one
    with the least recomputation is found whose peak is within the budget. It is carried out with
    :func:`torch.utils.checkpoint.checkpoint`, checkpoints within checkpoints where that is best.

    Outputs and gradients are those of ``module``, bit by bit where its kernels are deterministic.
    Side effects of blocks (counters, random numbers, updates of buffers) are put back
    before a second run and restored after it; what cannot be put back is refused. In each step the
    second run is compared with the first, and a step whose gradients would be wrong ends with a
    ScheduleError. Hooks on the blocks run as often as the blocks do.

    Args:
        module: not changed. It may be on the "meta" device.
        inputs: as those of the step, in shape and type; see :func:`memprop.torch.trace`.
        budget: for everything that is live in a step, parameters, gradients and the optimizer's
            state included: bytes, or a text such as "8 GiB".
        loss: as in :func:`memprop.torch.trace`.
        target: handed to ``loss`` after the output.
        optimizer: the optimizer, or a function that makes it; its state counts.
        autocast: the type of :class:`torch.autocast`.
        micro_batches: how often forward and backward run before the optimizer does (gradient
            accumulation); ``accumulate`` is its old name.
        blocks: the path of the list of blocks; the one that saves most if not given.
        explain: the old way to :func:`memprop.torch.checkpoint_plan`, which returns a table.

    Returns:
        A module with the same parameters and buffers, and the same keys in ``state_dict``; its
        attribute ``checkpoint_plan`` is the table of :func:`memprop.torch.checkpoint_plan`.

    Raises:
        InfeasibleBudget: no plan keeps to the budget; the error names the smallest that one does.
        MempropError: an argument is wrong, or the module has no such blocks.
    """
    options: dict[str, Any] = {
        "loss": loss,
        "target": target,
        "optimizer": optimizer,
        "autocast": autocast,
        "micro_batches": micro_batches,
        "blocks": blocks,
    }
    if explain:
        warnings.warn(
            "auto_checkpoint(explain=True) is called mpt.checkpoint_plan(...) now",
            DeprecationWarning,
            stacklevel=3,
        )
        plan: Any = checkpoint_plan(module, inputs, budget, **options)
        return plan
    seen, choice, plan = _chosen(module, inputs, budget, **options)
    planned = _planned(module, seen, choice.parts)
    object.__setattr__(planned, "checkpoint_plan", plan)  # no part of the module
    return planned


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
) -> "pd.DataFrame":
    """What :func:`memprop.torch.auto_checkpoint` would recompute, as a table.

    The arguments and the errors are those of :func:`memprop.torch.auto_checkpoint`.

    Returns:
        A row per block: ``block``, ``runs`` (forward runs in a step), ``keeps`` ("all" that its
        backward reads, the "input" of a recomputed part, or "nothing"), ``depth`` (how many
        checkpoints it is within), ``saved_bytes``, ``output_bytes``, ``forward_flops``,
        ``backward_flops``. Its ``attrs`` have ``budget``, ``predicted_peak`` and ``peak_without``
        in bytes, and ``recomputed_flops``.
    """
    _, _, plan = _chosen(
        module,
        inputs,
        budget,
        loss=loss,
        target=target,
        optimizer=optimizer,
        autocast=autocast,
        micro_batches=micro_batches,
        blocks=blocks,
    )
    return plan


def _chosen(
    module: nn.Module,
    inputs: Any,
    budget: str | SupportsIndex,
    *,
    blocks: str | None,
    **options: Any,
) -> "tuple[ModuleChain, Choice, pd.DataFrame]":
    """The module as a chain, the blocks to recompute, and these as a table."""
    check_module(module)
    _check_made(module)
    room = check_budget(budget)
    with left_as_it_was(module, inputs, options["loss"], options["target"]):
        seen, choice = _fitting(module, inputs, room, blocks, {**options, "mode": "train"})
    plan = table(seen, choice.parts)
    plan.attrs |= {
        "budget": room,
        "predicted_peak": choice.peak,
        "peak_without": seen.trace.peak,
        "recomputed_flops": recomputed_flops(seen, choice.parts),
    }
    return seen, choice, plan


def _check_made(module: nn.Module) -> None:
    """Raise InvalidValueError for what can be neither simulated nor copied."""
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise InvalidValueError(
                f"{name or 'the module'} is compiled by torch.jit, whose code cannot be watched: "
                "plan the module that it was made of"
            )


def _fitting(
    module: nn.Module, inputs: Any, room: int, blocks: str | None, parts: dict[str, Any]
) -> tuple[ModuleChain, Choice]:
    """The cheapest plan whose steps are within ``room`` bytes, the first and the later ones.

    In later steps there is the state of the optimizer, and what blocks keep from one to the next.
    """
    with without_memory(module, inputs, **parts) as task:
        begin = _start(task)
        warm_up(task, 1)
        later = _start(task)
        seen = as_chain(replace(task, micro_batches=1), blocks)
        later.put_back()  # the chain was watched without gradients as well
        return seen, _choose(task, seen, room, begin)


def _start(task: Task) -> Start:
    return Start.now(task.module, task.inputs, task.loss, task.target, optimizer=task.optimizer)


def _choose(task: Task, seen: ModuleChain, room: int, begin: Start) -> Choice:
    """The cheapest plan of the frontier whose simulated steps are within ``room`` bytes."""
    plans = frontier_plans(seen.chain)

    @cache
    def later(place: int) -> Choice:
        return _tried(task, seen, plans[place])

    @cache
    def tried(place: int) -> Choice:
        """The first step as well."""
        now = _start(task)
        begin.put_back()
        first = _tried(task, seen, plans[place])
        now.put_back()
        return max(first, later(place), key=lambda choice: choice.peak)

    fits = bisect_left(range(len(plans)), True, key=lambda place: later(place).peak > room)
    beside = range(max(fits - 1, 0), min(fits + _NEIGHBOURS, len(plans)))
    for place in reversed(range(beside.stop)):
        if later(place).peak <= room and tried(place).peak <= room:
            return tried(place)
    raise infeasible(room, min(tried(place).peak for place in beside))


def _planned(module: nn.Module, seen: ModuleChain, parts: Sequence[Part]) -> nn.Module:
    return checkpointed(module, seen.blocks.traits, parts)


def _tried(task: Task, seen: ModuleChain, plan: Plan) -> Choice:
    parts = in_blocks(segments(plan), seen.units)
    module = _planned(task.module, seen, parts)
    with new_gradients_dropped(task), _told_of_second_runs():
        return Choice(parts, recorded(replace(task, module=module), real=False).peak)


@contextmanager
def _told_of_second_runs() -> Iterator[None]:
    """Say what a user can do if a step fails only when its blocks run again."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, MempropError):
            raise
        message = " ".join(str(error).split())
        raise InvalidValueError(
            "the step fails if its blocks run again. Each must do the same a second time and leave "
            "what it is given as it is: a cache that grows is the usual cause (of Hugging Face's "
            f"models, config.use_cache = False). PyTorch says: {message[:200]}"
        ) from error
