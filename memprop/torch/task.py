"""What one step does: its parts, checked, and how they run."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from memprop.checks import check_integer_from_zero, check_positive_integer
from memprop.errors import InvalidTypeError, InvalidValueError, unknown_name
from memprop.terms import MODES
from memprop.torch.inputs import (
    Loss,
    arguments,
    check_autocast,
    check_devices,
    check_leaves,
    check_loss,
    check_names,
    check_target,
    check_trainable,
    loss_of,
    named,
    named_leaves,
)
from memprop.torch.record.scratch import Pretence

Optimizer = torch.optim.Optimizer | Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One step; see :func:`memprop.torch.step.trace` for each part."""

    module: nn.Module
    inputs: Any
    target: Any
    loss: Loss | None
    optimizer: torch.optim.Optimizer | None
    mode: str
    autocast: torch.dtype | None
    micro_batches: int
    pretence: Pretence | None = None
    gradients_in_forward: bool = False
    """Whether an inference differentiates: a model of forces, the gradient of an energy."""

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The inputs and the target by name."""
        inputs = dict(named(self.module, self.inputs))
        return {**inputs, **dict(named_leaves({"target": self.target}))}

    @property
    def device(self) -> torch.device:
        """Where the step runs: where the first parameter or input is."""
        tensors = (*self.module.parameters(), *self.tensors.values())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))


def task(
    module: nn.Module, inputs: Any, optimizer: Optimizer | None, micro_batches: int, **parts: Any
) -> Task:
    """A checked task.

    Raises:
        MempropError: a part is wrong.
    """
    if parts["mode"] not in MODES:
        raise unknown_name("mode", parts["mode"], MODES)
    if parts["mode"] == "train":
        check_trainable(module, inputs)
    check_names(inputs)
    check_loss(parts["loss"])
    check_target(parts["loss"], parts["target"])
    check_autocast(parts["autocast"])
    optimizer = _optimizer(module, optimizer)
    count = check_positive_integer("micro_batches", micro_batches)
    made = Task(module=module, inputs=inputs, optimizer=optimizer, micro_batches=count, **parts)
    check_devices(module, made.tensors)
    check_leaves(made.tensors)
    return made


def _optimizer(module: nn.Module, optimizer: Optimizer | None) -> torch.optim.Optimizer | None:
    if optimizer is None:
        return None
    is_made = isinstance(optimizer, torch.optim.Optimizer)
    made = optimizer if is_made or not callable(optimizer) else optimizer(module.parameters())
    if not isinstance(made, torch.optim.Optimizer):
        raise InvalidTypeError(
            "optimizer must be a torch.optim.Optimizer or a function that makes one of the "
            f"parameters, as torch.optim.AdamW; got {made!r}"
        )
    closure = inspect.signature(made.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise InvalidValueError(
            f"{type(made).__name__}.step needs a closure, and runs it as often as it likes: write "
            "the whole step as a function, for memprop.torch.trace_step or simulate_step"
        )
    return made


Begin = Callable[[str], None]
"""Told the name of each part of a step before it runs."""


def run(task: Task, begin: Begin = lambda *_: None) -> dict[str, Any]:
    """Do the step, and tell ``begin`` what begins.

    Returns:
        What the step puts out: "loss" and "gradients", or "prediction".
    """
    if task.mode == "inference":
        return {"prediction": _infer(task, begin)}
    args, kwargs = arguments(task.inputs)
    output = loss = None
    for _ in range(task.micro_batches):
        with autocast_of(task):
            begin("forward")
            output = task.module(*args, **kwargs)
            begin("loss")
            loss = loss_of(task.loss, output, task.target)
        begin("backward")
        loss.backward()
    if task.optimizer is not None:
        begin("update")
        task.optimizer.step()
    begin("end")
    del output  # only now: the variables of a training loop live until its next turn
    grads = {name: p.grad for name, p in task.module.named_parameters() if p.grad is not None}
    return {"loss": None if loss is None else loss.detach(), "gradients": grads}


def warm_up(task: Task, steps: int, do: Callable[[Task], object] = run) -> None:
    """Run steps before the one that counts, and drop their gradients as a training loop does.

    Args:
        task: what a step does.
        steps: how many.
        do: does one.
    """
    for _ in range(check_integer_from_zero("warmup", steps)):
        with new_gradients_dropped(task):
            do(task)


@contextmanager
def new_gradients_dropped(task: Task) -> Iterator[None]:
    """Let go of the gradients that parameters have got inside the block."""
    without = [parameter for parameter in task.module.parameters() if parameter.grad is None]
    try:
        yield
    finally:
        for parameter in without:
            parameter.grad = None


def _infer(task: Task, begin: Begin) -> Any:
    begin("forward")
    args, kwargs = arguments(task.inputs)
    with torch.set_grad_enabled(task.gradients_in_forward), autocast_of(task):
        output = task.module(*args, **kwargs)
    begin("end")
    return output


def autocast_of(task: Task) -> AbstractContextManager[Any]:
    """The autocast that the forward pass and the loss of a task run in."""
    if task.autocast is None:
        return nullcontext()
    return torch.autocast(task.device.type, dtype=task.autocast)
