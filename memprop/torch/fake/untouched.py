"""What a simulated step may have touched, and how it was before."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch._C._autograd import _unsafe_set_version_counter
from torch.utils._mode_utils import no_dispatch

from memprop.errors import InvalidValueError
from memprop.torch.state.ambient import (
    random_states,
    set_random_states,
    set_torch_states,
    torch_states,
)

_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


@dataclass(frozen=True)
class _Before:
    """A tensor as it was.

    Attributes:
        tensor: the tensor.
        data: another tensor of the same storage, shape and strides.
        requires_grad: whether it needs a gradient.
        grad: its gradient; ``None`` for what is no leaf.
        is_leaf: whether no operator made it.
        version: how often it was written to; ``None`` where PyTorch does not count.
        hooks: of the backward pass, by the attribute that has them.
    """

    tensor: torch.Tensor
    data: torch.Tensor
    is_leaf: bool
    requires_grad: bool
    grad: torch.Tensor | None
    version: int | None
    hooks: dict[str, Any]


class Untouched:
    """Real tensors that a simulated step meets, to be put back as they were.

    Nothing in a simulation writes numbers into them. But the backward pass gives them gradients,
    programs hang hooks on them, and autograd counts the writes that did not happen.
    """

    def __init__(self) -> None:
        self._before: dict[int, _Before] = {}

    def keep(self, tensor: torch.Tensor) -> None:
        """Note how a tensor is now, unless that was noted before.

        Raises:
            InvalidValueError: it is the result of operators that ran before the step, through
                which backward would go on.
        """
        if id(tensor) in self._before:
            return
        if tensor.grad_fn is not None and torch.is_grad_enabled():
            raise InvalidValueError(
                f"the step reads a tensor of shape {tuple(tensor.shape)} that was computed before "
                f"it ({tensor.grad_fn.name()}), and through which backward would go on: detach it, "
                "or compute it within the step"
            )
        with no_dispatch():
            data = tensor.data
        self._before[id(tensor)] = _Before(
            tensor,
            data,
            tensor.is_leaf,
            tensor.requires_grad,
            tensor.grad if tensor.is_leaf else None,
            None if tensor.is_inference() else tensor._version,
            {name: _copied(getattr(tensor, name)) for name in _HOOKS},
        )

    def put_back(self) -> None:
        """Restore every tensor."""
        for before in self._before.values():
            _put_back(before)
        self._before.clear()


def _copied(hooks: Any) -> dict[int, Any] | None:
    return None if hooks is None else OrderedDict(hooks)


def _put_back(before: _Before) -> None:
    tensor = before.tensor
    if tensor.layout == torch.strided and not _is_same_view(tensor, before.data):
        tensor.data = before.data
    if before.is_leaf:
        if not tensor.is_leaf:
            tensor.detach_()
        if tensor.requires_grad != before.requires_grad:
            tensor.requires_grad_(before.requires_grad)
        if tensor.grad is not before.grad:
            tensor.grad = before.grad
    for name, hooks in before.hooks.items():
        if _copied(getattr(tensor, name)) != hooks:
            setattr(tensor, name, hooks)
    if before.version is not None and tensor._version != before.version:
        _unsafe_set_version_counter((tensor,), (before.version,))


def _is_same_view(one: torch.Tensor, other: torch.Tensor) -> bool:
    same = one.untyped_storage()._cdata == other.untyped_storage()._cdata
    where = (one.shape, one.stride(), one.storage_offset())
    return same and where == (other.shape, other.stride(), other.storage_offset())


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Let random generators go on after the block as if it had not run."""
    states, of_torch = random_states(), torch_states()
    try:
        yield
    finally:
        set_random_states(states)
        set_torch_states(of_torch)
