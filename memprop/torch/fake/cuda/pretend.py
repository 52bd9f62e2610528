"""A program that asks for CUDA gets the CPU, whose fake tensors stand for CUDA's."""

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils import _foreach_utils

_OPTIMIZER = importlib.import_module("torch.optim.optimizer")
"""torch.optim hides the name of this module."""


@contextmanager
def pretending_cuda() -> Iterator[None]:
    """Let ``.cuda()``, ``.to("cuda")``, ``device="cuda"`` and ``autocast("cuda")`` do no harm."""
    with ExitStack() as stack:
        stack.enter_context(_Moves())
        for name in ("is_autocast_enabled", "get_autocast_dtype"):
            stack.enter_context(patch.object(torch, name, _asked_of_the_cpu(getattr(torch, name))))
        stack.enter_context(patch.object(torch.autocast, "__init__", _autocast(torch.autocast)))
        stack.enter_context(_foreach_on_the_cpu())
        yield


def _asked_of_the_cpu(function: Any) -> Any:
    def asked(device_type: str = "cuda") -> Any:
        return function("cpu" if device_type == "cuda" else device_type)

    return asked


def _autocast(original: Any) -> Any:
    begin = original.__init__

    def __init__(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        begin(self, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    return __init__


@contextmanager
def _foreach_on_the_cpu() -> Iterator[None]:
    """Let optimizers and clipping take many tensors at once, as they do by default on CUDA."""
    devices = [*_foreach_utils._get_foreach_kernels_supported_devices(), "cpu"]
    kinds = [*_OPTIMIZER._foreach_supported_types, FakeTensor]
    with ExitStack() as stack:
        for module in (_foreach_utils, _OPTIMIZER):
            for name, value in (
                ("_foreach_supported_types", kinds),
                ("_get_foreach_kernels_supported_devices", lambda: devices),
            ):
                stack.enter_context(patch.object(module, name, value))
        yield


class _Moves(TorchFunctionMode):
    """Turns the device CUDA into the CPU wherever a function of PyTorch is given it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.Tensor.cuda:
            return args[0]
        if "device" in kwargs:
            kwargs = {**kwargs, "device": _moved(kwargs["device"])}
        if func is torch.Tensor.to:
            args = tuple(_moved(one) for one in args)
        return func(*args, **kwargs)


def _moved(device: Any) -> Any:
    if isinstance(device, int) and not isinstance(device, bool):
        return torch.device("cpu")
    if isinstance(device, str | torch.device) and str(device).partition(":")[0] == "cuda":
        return torch.device("cpu")
    return device
