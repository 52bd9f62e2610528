"""What has the memory of a tensor: a sparse one, or one that wraps others, is made of several."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass_type

_functorch: Any = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]


@functools.cache
def wraps(kind: type) -> bool:
    """Whether tensors of a class only wrap others, as a DTensor wraps what its rank has of it."""
    return kind is not torch.Tensor and is_traceable_wrapper_subclass_type(kind)


def any_wraps(kinds: Iterable[type]) -> bool:
    """Whether an operator is given such tensors. What it does it does on what they wrap."""
    return any(map(wraps, kinds))


def is_functional(tensor: torch.Tensor) -> bool:
    """Whether a transformation of :mod:`torch.func` has wrapped a tensor."""
    return _functorch.is_functorch_wrapped_tensor(tensor)


def parts(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The tensors that have the memory of a tensor: itself, but for those above."""
    while is_functional(tensor):
        tensor = _functorch.get_unwrapped(tensor)
    if tensor.layout == torch.sparse_coo:
        return (tensor._indices(), tensor._values())
    if not wraps(type(tensor)):
        return (tensor,)
    inside = _inside(tensor).values()
    return tuple(part for one in inside if isinstance(one, torch.Tensor) for part in parts(one))


def rewrapped(tensor: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """A tensor like one that wraps others, around what ``change`` makes of these."""
    wrapper: Any = tensor
    inside = {
        name: change(one) if isinstance(one, torch.Tensor) else one
        for name, one in _inside(tensor).items()
    }
    _, context = wrapper.__tensor_flatten__()
    return wrapper.__tensor_unflatten__(inside, context, tensor.size(), tensor.stride())


def _inside(wrapper: Any) -> dict[str, Any]:
    """What a tensor wraps by name: tensors, and in newer versions what else makes it up."""
    names, _ = wrapper.__tensor_flatten__()
    return {name: getattr(wrapper, name) for name in names}
