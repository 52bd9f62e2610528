"""What stands for the result of a block, and for what it leaves, while it has not run yet."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from memprop.errors import ScheduleError

_NOTHING = torch.empty(0, device="meta")


@dataclass(frozen=True)
class TensorMeta:
    """The shape, type and device of a tensor."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: torch.Tensor) -> "TensorMeta":
        """The kind of a tensor."""
        return cls(tensor.shape, tensor.dtype, tensor.device)


def _getter(attribute: str) -> Any:
    """What PyTorch calls for an attribute of a tensor."""
    return getattr(torch.Tensor, attribute).__get__


_ABOUT = {
    _getter("shape"): lambda kind: kind.shape,
    torch.Tensor.size: lambda kind, place=None: kind.shape if place is None else kind.shape[place],
    torch.Tensor.dim: lambda kind: len(kind.shape),
    _getter("ndim"): lambda kind: len(kind.shape),
    _getter("dtype"): lambda kind: kind.dtype,
    _getter("device"): lambda kind: kind.device,
}
"""Questions that can be answered where a kind is known."""


class DeferredTensor(torch.Tensor):
    """Stands for the result of a block; computing with it raises an error that says so."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Raise ScheduleError, but for questions about the kind, if that is known."""
        leaves = tree_leaves((args, kwargs))
        stands = vars(next(leaf for leaf in leaves if isinstance(leaf, DeferredTensor)))
        if stands["kind"] is not None and func in _ABOUT:
            return _ABOUT[func](stands["kind"], *args[1:], **(kwargs or {}))
        if stands["attribute"] is not None:
            raise ScheduleError(
                f"{stands['attribute']} is read before {stands['name']} has run: the blocks run "
                "together when the last of them is called. Read it after that one"
            )
        raise ScheduleError(
            f"what {stands['name']} returns is used beside the next block, and was not when this "
            "was planned: plan again with inputs that lead there"
        )


def later(name: str, kind: TensorMeta | None = None, attribute: str | None = None) -> torch.Tensor:
    """A stand-in for the result of the block ``name``, of this kind if it is known.

    Or for what it will leave in an attribute.
    """
    made = torch.Tensor._make_subclass(DeferredTensor, _NOTHING)  # no operator, so no mode sees it
    vars(made).update(name=name, kind=kind, attribute=attribute)
    return made
