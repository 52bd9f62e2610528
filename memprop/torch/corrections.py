"""Where PyTorch's fake kernels and its real ones on the CPU differ in what they keep."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from memprop.errors import InvalidValueError

_aten: Final = torch.ops.aten


class Corrections(TorchDispatchMode):
    """Gives what fake kernels return the types that the real kernels on the CPU return."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        correct = _CORRECTIONS.get(func)
        return result if correct is None or args[0].device.type != "cpu" else correct(args, result)


def _norm(weight: torch.Tensor | None, result: Any) -> Any:
    """A norm of 16-bit samples by 32-bit parameters, which is what autocast makes of it.

    It keeps its mean and its deviation in 32 bits; the fake kernel says 16.
    """
    output, mean, deviation = result
    if weight is None:
        return result
    return output, mean.to(weight.dtype), deviation.to(weight.dtype)


def _norm_backward(samples: torch.Tensor, result: Any) -> Any:
    """The gradient of 16-bit samples has 16 bits; the fake kernel says 32."""
    gradient, *rest = result
    return (None if gradient is None else gradient.to(samples.dtype), *rest)


def _attention(result: Any) -> Any:
    """No weights were asked for: the fake kernel returns empty ones, the real kernel none."""
    output, weights = result
    return output, None if weights is None or weights.numel() == 0 else weights


_CORRECTIONS: Final[dict[Any, Callable[[Any, Any], Any]]] = {
    _aten.native_batch_norm.default: lambda args, result: _norm(args[1], result),
    _aten.native_group_norm.default: lambda args, result: _norm(args[1], result),
    _aten.native_layer_norm.default: lambda args, result: _norm(args[2], result),
    _aten.native_group_norm_backward.default: lambda args, result: _norm_backward(args[1], result),
    _aten.native_layer_norm_backward.default: lambda args, result: _norm_backward(args[1], result),
    _aten._native_multi_head_attention.default: lambda _, result: _attention(result),
}


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
