"""What autograd's graph holds when backward begins: what its nodes, checkpoints and Functions keep.

Asking a node for what it saved would run a checkpoint again, or a user's unpack hook. So the walk
reads what is stored, and looks into the Python objects among it.
"""

import functools
import gc
import types
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._C._autograd import SavedTensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._mode_utils import no_dispatch


@dataclass(frozen=True)
class Held:
    """What a graph holds.

    Attributes:
        saved: the tensors that its nodes saved.
        others: those that a checkpoint, a hook or a user's Function keeps.
        complete: whether that is all. A node of a C++ extension does not show what it holds.
    """

    saved: list[torch.Tensor]
    others: list[torch.Tensor]
    complete: bool


def held_by_graph(roots: Iterable[torch.Tensor]) -> Held:
    """What the graph behind ``roots`` holds."""
    saved: list[torch.Tensor] = []
    objects: list[Any] = []
    complete = True
    for node in _nodes(roots):
        complete &= _shows_what_it_holds(node)
        for stored in _stored(node):
            if not isinstance(stored, torch.Tensor):
                objects.append(stored)
            elif not _is_plain_number(stored):
                saved.append(stored)
    return Held(saved, list(_tensors_in(objects)), complete)


def _nodes(roots: Iterable[torch.Tensor]) -> Iterator[Any]:
    """The nodes of the graph, each once."""
    todo = [root.grad_fn for root in roots if root.grad_fn is not None]
    seen: set[Any] = set()
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        todo.extend(after for after, _ in node.next_functions if after is not None)


def _stored(node: Any) -> Iterator[Any]:
    """What a node stores: saved tensors, what hooks made of them, attributes of a Function."""
    for name in _names_of_saved(type(node)):
        try:
            stored = getattr(node, name)
        except RuntimeError:  # it was freed by a backward pass before
            continue
        for saved in stored if isinstance(stored, tuple | list) else (stored,):
            yield from _contents(saved)
    yield getattr(node, "__dict__", None)


def _contents(saved: Any) -> Iterator[Any]:
    """What is behind a saved tensor: itself, or what a hook packed and the hook that unpacks it."""
    if not (_CAN_LOOK and isinstance(saved, SavedTensor)):
        return
    shown: Any = saved  # the stubs of PyTorch leave these two out
    try:
        yield shown.data
        yield shown.unpack_hook
    except RuntimeError:  # freed
        return


@functools.cache
def _names_of_saved(kind: type) -> tuple[str, ...]:
    return tuple(name for name in dir(kind) if name.startswith("_raw_saved_"))


_NARROW = {
    torch.int64: torch.zeros((), dtype=torch.int32),
    torch.float64: torch.zeros((), dtype=torch.float32),
    torch.complex128: torch.zeros((), dtype=torch.complex64),
}


def _is_plain_number(tensor: torch.Tensor) -> bool:
    """Whether this is a number such as the 2 of ``2 * x``. PyTorch wraps it, and its hooks skip it.

    A number gives way to the type of a tensor, where a tensor without dimensions would not.
    """
    narrow = _NARROW.get(tensor.dtype)
    if narrow is None or tensor.dim() > 0 or isinstance(tensor, FakeTensor):
        return False
    with no_dispatch():
        return torch.result_type(tensor, narrow) == narrow.dtype


_CAN_LOOK = hasattr(SavedTensor, "data")
"""Earlier versions of PyTorch show a saved tensor only by unpacking it."""


def _shows_what_it_holds(node: Any) -> bool:
    # Nodes of C++ extensions have no attributes of their own.
    return _CAN_LOOK and type(node).__name__ != "CppFunction"


def _tensors_in(roots: Iterable[Any]) -> Iterator[torch.Tensor]:
    """The tensors that Python objects refer to, modules and what they hold left out."""
    todo = deque(roots)
    seen: dict[int, Any] = {}
    while todo:
        found = todo.popleft()
        if isinstance(found, torch.Tensor):
            yield found
            continue
        if id(found) in seen or isinstance(found, _NOT_LOOKED_INTO):
            continue
        seen[id(found)] = found
        todo.extend(_references(found))


_NOT_LOOKED_INTO = (
    *(str, bytes, int, float, complex, type(None), type),
    *(types.ModuleType, types.FrameType, types.CodeType, types.BuiltinFunctionType),
    *(nn.Module, torch.optim.Optimizer),
)


def _references(found: Any) -> Iterable[Any]:
    if isinstance(found, types.FunctionType):  # not its globals
        return (*(found.__closure__ or ()), *(found.__defaults__ or ()))
    if isinstance(found, SavedTensor):
        return tuple(_contents(found))
    return gc.get_referents(found)
