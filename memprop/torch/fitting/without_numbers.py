"""A model and its inputs without their memory: only shapes matter to a simulation."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import torch
from torch.overrides import TorchFunctionMode

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


class _LargeOnMeta(TorchFunctionMode):
    """Puts large new tensors on the "meta" device, where they have no memory."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _MAKERS and kwargs.get("generator") is None and _is_cpu(kwargs.get("device")):
            found = func(*args, **{**kwargs, "device": "meta"})
            if found.nbytes >= _LARGE_BYTES:
                return found
        return func(*args, **kwargs)


def _is_cpu(device: Any) -> bool:
    return device is None or torch.device(device).type == "cpu"


def made_without_numbers(make: Callable[[], T]) -> T:
    """What a user's function makes, its large tensors without numbers if it bears that.

    So a model that is larger than the machine can be made, and in no time.
    """
    try:
        with _LargeOnMeta():
            return make()
    except Exception:  # whatever the user's own code needs the numbers for
        return make()
