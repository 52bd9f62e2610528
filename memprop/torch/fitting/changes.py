"""Changes to a model's steps that need fewer bytes."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final
from unittest.mock import patch

import torch
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_map_only

from memprop.torch.checkpoint.shared_copy import held_tensors
from memprop.torch.chunked import chunked_cross_entropy
from memprop.torch.fitting.job import Job, Made


def sliced(job: Job, slices: int) -> Job:
    """Gradients are accumulated over so many slices, each a batch of the job."""
    micro_batches = slices * job.options.get("micro_batches", 1)
    return replace(job, options={**job.options, "micro_batches": micro_batches})


def with_optimizer(job: Job, optimizer: Any) -> Job:
    """The parameters are updated by another optimizer: its class, or a function that makes it."""

    def make(batch: int) -> Made:
        return job.made(batch)._replace(optimizer=None)

    return replace(job, make=make, options={**job.options, "optimizer": optimizer})


_CROSS_ENTROPY: Final = functional.cross_entropy


def with_chunked_loss(job: Job) -> Job:
    """Cross entropy takes a part of the samples at a time, wherever the model's code calls it."""
    options = dict(job.options)
    loss = options.get("loss")
    if loss is _CROSS_ENTROPY:
        options["loss"] = _in_chunks
    elif isinstance(loss, partial) and loss.func is _CROSS_ENTROPY:
        options["loss"] = partial(_in_chunks, *loss.args, **loss.keywords)
    return replace(
        job,
        options=options,
        around=lambda: patch.object(functional, "cross_entropy", _in_chunks),
    )


def _in_chunks(
    input: torch.Tensor,  # noqa: A002 - as in PyTorch's function
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Takes the place of PyTorch's cross entropy, and leaves to it what has no parts."""
    options = {
        "ignore_index": ignore_index,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
    }
    learns = any(one is not None and one.requires_grad for one in (target, weight))
    old = (size_average, reduce) != (None, None)
    if input.dim() < 2 or reduction == "none" or learns or old:
        return _CROSS_ENTROPY(input, target, weight, size_average, reduce=reduce, **options)
    return chunked_cross_entropy(input, target, weight, **options)


def in_bfloat16(job: Job) -> Job:
    """Parameters, gradients, state and activations are bfloat16, without autocast."""

    def make(batch: int) -> Made:
        made = job.made(batch)
        module = made.module
        twin = halved(module) if isinstance(module, nn.Module) else lambda: module().bfloat16()
        inputs, target = tree_map_only(torch.Tensor, _halved_input, (made.inputs, made.target))
        optimizer = made.optimizer
        if optimizer is not None and isinstance(twin, nn.Module):
            optimizer = like(optimizer)(twin.parameters())
        return Made(twin, inputs, target, optimizer)

    return replace(job, make=make, options={**job.options, "autocast": None})


def halved(module: nn.Module) -> nn.Module:
    """A module like this one with parameters and buffers of bfloat16, on the "meta" device.

    The module itself stays as it is. Where two parameters are one, they are one here too.
    """
    known: dict[int, Any] = {}
    for tensor in held_tensors(module):
        is_wide = tensor.is_floating_point() and tensor.dtype is not torch.bfloat16
        known.setdefault(id(tensor), _halved(tensor) if is_wide else tensor)
    return copy.deepcopy(module, known)


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    twin = torch.empty_like(tensor, dtype=torch.bfloat16, device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(twin, requires_grad=tensor.requires_grad)
    return twin


def _halved_input(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    return tensor.detach().to(torch.bfloat16).requires_grad_(tensor.requires_grad)


def like(optimizer: torch.optim.Optimizer) -> Callable[[Any], torch.optim.Optimizer]:
    """A function that makes such an optimizer of other parameters, with the same settings."""
    taken = inspect.signature(type(optimizer).__init__).parameters
    settings = {name: value for name, value in optimizer.defaults.items() if name in taken}
    return lambda parameters: type(optimizer)(parameters, **settings)
