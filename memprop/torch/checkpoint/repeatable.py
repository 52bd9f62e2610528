"""Which operators can run again, and make the same again from the same operands."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from memprop.torch.record.schema import named_arguments, operands, written

_PLAIN: Final = (torch.Tensor, nn.Parameter, FakeTensor)

_STATISTICS: Final = frozenset(
    {
        "aten::native_batch_norm",
        "aten::cudnn_batch_norm",
        "aten::miopen_batch_norm",
        "aten::_native_batch_norm_legit",
        "aten::_batch_norm_with_update",
    }
)
"""Kernels that update running statistics and do not read them, where they train."""


def hindrance(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> str:
    """Why a call of an operator cannot run again, in words; "" if it can.

    An operator that writes to an operand can run again on a copy that was computed again, if all
    of the operand is known; that is for the caller to see.
    """
    if func.namespace != "aten":
        return f"{func.name()} is no operator of PyTorch's own: it may do something else each time"
    scratch = statistics(func, args, kwargs)
    changed = [one for one in written(func, args, kwargs) if not any(one is s for s in scratch)]
    if changed:
        returned = {one.untyped_storage()._cdata for one in results(result) if is_plain(one)}
        lost = (one.untyped_storage()._cdata not in returned for one in changed if is_plain(one))
        if any(lost):
            return f"{func.name()} writes to a tensor that it does not return"
    for tensor in (*operands(args, kwargs), *results(result)):
        if not is_plain(tensor):
            return f"{func.name()} works on {_kind(tensor)}"
        if tensor.is_conj() or tensor.is_neg():
            return f"{func.name()} works on a lazily conjugated or negated tensor"
    return ""


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor has a storage of its own, with one number after the other."""
    return type(tensor) in _PLAIN and tensor.layout == torch.strided


def _kind(tensor: torch.Tensor) -> str:
    if tensor.layout != torch.strided:
        return f"a tensor of layout {tensor.layout}"
    return f"a tensor of the class {type(tensor).__name__}"


def results(result: Any) -> Iterator[torch.Tensor]:
    """The tensors that an operator returned."""
    if isinstance(result, torch.Tensor):
        yield result
    elif isinstance(result, list | tuple):
        for one in result:
            yield from results(one)


def draws(func: Any) -> bool:
    """Whether an operator draws random numbers."""
    return torch.Tag.nondeterministic_seeded in func.tags


def statistics(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The running statistics that an operator updates, and does not read otherwise."""
    if func.name() not in _STATISTICS:
        return []
    given = named_arguments(func, args, kwargs)
    if not given.get("training", given.get("train", True)):
        return []
    return operands([given["running_mean"], given["running_var"]], {})


def generators(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Generator]:
    """The generators that an operator may draw from; none where a device's is not known."""
    given = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Generator)]
    if given:
        return given
    devices = {tensor.device for tensor in operands(args, kwargs)}
    if not devices:
        devices = {torch.device(kwargs.get("device") or "cpu")}
    return [found for device in devices for found in _generators_of(device)]


def _generators_of(device: torch.device) -> list[torch.Generator]:
    if device.type == "cpu":
        return [torch.default_generator]
    if device.type == "cuda" and not torch.cuda.default_generators:
        return [torch.default_generator]  # there is no GPU: fake tensors of the CPU stand for its
    if device.type == "cuda":
        place = torch.cuda.current_device() if device.index is None else device.index
        return [torch.cuda.default_generators[place]]
    return []


@functools.cache
def is_mutable(func: Any) -> bool:
    """Whether the schema of an operator says that it writes to an operand."""
    return func._schema.is_mutable
