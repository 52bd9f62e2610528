"""What operators write to that was there before a call, and the random numbers they draw."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from memprop.torch.record.schema import tensors, written
from memprop.torch.record.storages import home_of


@dataclass
class During:
    """What happened while a call was open; storages are identified by their address.

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
        targets = _addresses(written(func, args, kwargs))
        made = _addresses(result)
        for during in self.open:
            for address in targets - during.born:
                during.written.setdefault(address, func.name())
            if not func.is_view:
                during.born |= made - during.written.keys() - _addresses((args, kwargs))


def address(tensor: torch.Tensor) -> int | None:
    """What tells the storage of a tensor from others, while it lives."""
    return home_of(tensor)._cdata if tensor.layout == torch.strided else None


def _addresses(tree: Any) -> set[int]:
    return {found for tensor in tensors(tree) if (found := address(tensor)) is not None}
