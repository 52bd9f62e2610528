"""What operators write to that was there before a call, and the random numbers they draw."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass
class During:
    """What happened while a call was open; storages are told by their address.

    Attributes:
        born: the storages that operators made.
        written: those that were there before and were written to, and by which operator.
    """

    born: set[int] = field(default_factory=set)
    written: dict[int, str] = field(default_factory=dict)


class Writes(TorchDispatchMode):
    """Watches operators inside ``with writes:``.

    Attributes:
        draws: how many operators drew random numbers so far.
        open: the calls that are open.
    """

    def __init__(self) -> None:
        super().__init__()
        self.draws = 0
        self.open: list[During] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.draws += torch.Tag.nondeterministic_seeded in func.tags
        if self.open:
            self._note(func, args, kwargs, result)
        return result

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        written = _addresses(_written(func, args, kwargs))
        made = _addresses(result)
        for during in self.open:
            for address in written - during.born:
                during.written.setdefault(address, func.name())
            if not func.is_view:
                during.born |= made - during.written.keys() - _addresses((args, kwargs))


def _written(func: Any, args: Any, kwargs: Any) -> list[Any]:
    names = [argument.name for argument in func._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    found = [
        given.get(argument.name)
        for argument in func._schema.arguments
        if argument.alias_info and argument.alias_info.is_write
    ]
    if func.name() in _WRITES_UNSAID and given.get("training", given.get("train")):
        found += [given["running_mean"], given["running_var"]]
    return found


_WRITES_UNSAID = {
    "aten::native_batch_norm",
    "aten::cudnn_batch_norm",
    "aten::miopen_batch_norm",
}
"""Kernels whose schema does not say that they write the running statistics."""


def address(tensor: torch.Tensor) -> int | None:
    """What tells the storage of a tensor from others, while it lives."""
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else None


def _addresses(tree: Any) -> set[int]:
    leaves = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))
    return {found for leaf in leaves if (found := address(leaf)) is not None}
