"""A model and its inputs without their memory: only shapes matter to a simulation."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from memprop.torch.fake.cuda.devices import cpu_for

_LARGE_BYTES: Final = 2**23
"""From this size on tensors are made without numbers. In smaller ones a step may look them up."""
_MAKERS: Final = {
    torch.empty,
    torch.zeros,
    torch.ones,
    torch.full,
    torch.rand,
    torch.randn,
    torch.randint,
}

T = TypeVar("T")


class _HereAndSmall(TorchFunctionMode):
    """Leaves on the CPU what is to go to CUDA, and gives large new tensors no memory.

    Args:
        large_bytes: from which size on a tensor is made on the "meta" device; ``None`` for never.
    """

    def __init__(self, large_bytes: int | None) -> None:
        super().__init__()
        self._large_bytes = large_bytes

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.Tensor.to:
            args = tuple(map(cpu_for, args))
        if "device" in kwargs:
            kwargs = {**kwargs, "device": cpu_for(kwargs["device"])}
        if func in _MAKERS and self._large_bytes is not None and _is_plain(kwargs):
            found = func(*args, **{**kwargs, "device": "meta"})
            if found.nbytes >= self._large_bytes:
                return found
        return func(*args, **kwargs)


def _is_plain(kwargs: dict[str, Any]) -> bool:
    """Whether a tensor is made on the CPU, and of no particular random numbers."""
    device = kwargs.get("device")
    return kwargs.get("generator") is None and (device is None or str(device) == "cpu")


def made_without_numbers(make: Callable[[], T]) -> T:
    """What a user's function makes, its large tensors without numbers if it bears that.

    So a model that is larger than the machine can be made, and in no time. Where the function
    moves tensors to CUDA they stay on the CPU, for a simulation puts all on the GPU anyway.
    """
    try:
        with _HereAndSmall(_LARGE_BYTES):
            return make()
    except Exception:  # whatever the user's own code needs the numbers for
        with _HereAndSmall(None):
            return make()
