"""Where PyTorch's fake kernels and its real ones on the CPU differ in what they keep."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from memprop.errors import InvalidValueError


class Corrections(TorchDispatchMode):
    """Gives what fake kernels return the types that the real kernels on the CPU return.

    Batch norm of 16-bit samples with 32-bit parameters, which is what autocast makes of it, keeps
    its mean and its deviation in 32 bits; the fake kernel says 16.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.native_batch_norm.default:
            return _with_statistics_of(args[1], result)
        return result


def _with_statistics_of(weight: torch.Tensor | None, result: Any) -> Any:
    output, mean, deviation = result
    if weight is None or weight.device.type != "cpu" or weight.dtype == mean.dtype:
        return result
    return output, mean.to(weight.dtype), deviation.to(weight.dtype)


def check_kernels(module: nn.Module) -> None:
    """Raise InvalidValueError if fake tensors would take another way than real ones.

    An LSTM on the CPU runs in kernels of oneDNN, which PyTorch does not choose for fake tensors;
    and a fake sparse gradient does not know how many rows it has.
    """
    for name, part in module.named_modules():
        if getattr(part, "sparse", False):
            raise InvalidValueError(
                f"{name or 'the module'} has sparse gradients, whose size a simulation does not "
                "know: use memprop.torch.trace, or sparse=False"
            )
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return
    for name in _on_cpu(module):
        raise InvalidValueError(
            f"{name} is an LSTM on the CPU, which PyTorch runs in kernels of oneDNN that a "
            "simulation cannot see: use memprop.torch.trace, or simulate and train under "
            "torch.backends.mkldnn.flags(enabled=False)"
        )


def _on_cpu(module: nn.Module) -> Iterator[str]:
    for name, part in module.named_modules():
        if isinstance(part, nn.LSTM) and next(part.parameters()).device.type == "cpu":
            yield name or "the module"
