"""What a call of a module changes, in addition to what it returns."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from memprop.torch.checkpoint.recompute_context import keeps_statistics
from memprop.torch.checkpoint.writes import During, address
from memprop.torch.state.places import ITERATOR, TENSOR
from memprop.torch.state.reach import Found, Snapshot


@dataclass(frozen=True)
class Effects:
    """What a call left behind.

    Attributes:
        kept: the names of the tensors in its modules that it wrote to, but for the running
            statistics of batch norm: what they held must be kept for a second run.
        changed: the names of the attributes in its modules that hold something else since.
        hindrances: what a second run would do again and nobody can put back, in words.
    """

    kept: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    hindrances: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watched:
    """A call that has begun.

    Attributes:
        module: the module that is called.
        places: all that it can reach.
        state: what they held when it began.
        during: what operators do meanwhile.
    """

    module: nn.Module
    places: list[Found]
    state: Snapshot
    during: During = field(default_factory=During)

    def effects(self, arguments: Iterable[int | None]) -> Effects:
        """What the call has left behind when it has ended.

        Args:
            arguments: the storages of its arguments, whose writes are someone else's business.
        """
        given = set(arguments)
        written = {at: op for at, op in self.during.written.items() if at not in given}
        tensors = dict(_tensors_of(self.module))
        statistics = {address(tensor) for tensor in _statistics(self.module)}
        left = {at: op for at, op in written.items() if at not in {*tensors, *statistics}}
        changed = [pair for pair in self.state.changed() if pair[0].kind is not TENSOR]
        return Effects(
            frozenset(name for at, name in tensors.items() if at in written),
            frozenset(name for pair in changed for name in self._attributes(*pair)),
            (*self._writes(left), *self._lasting(place for place, _ in changed)),
        )

    def _writes(self, left: dict[int, str]) -> Iterator[str]:
        """Writes to tensors of which nobody keeps a copy."""
        paths = {address(p.thing): p for p in self.places if p.kind is TENSOR}
        for at, operator in left.items():
            if at in paths:
                place = paths[at]
                what = "parameter" if isinstance(place.thing, nn.Parameter) else "tensor"
                yield f"writes to the {what} {place.path}"
            else:
                yield f"writes to a tensor that was there before it ran ({operator})"

    def _lasting(self, changed: Iterable[Found]) -> Iterator[str]:
        for place in changed:
            if place.kind.put is None:
                yield f"changes {place.path}, which is too large to be put back"
        for place in self.places:
            if place.kind is ITERATOR:
                kind = type(place.thing).__name__
                yield f"can reach the iterator {place.path} ({kind}), which cannot be set back"

    def _attributes(self, place: Found, saved: Any) -> Iterator[str]:
        """The attributes of its modules through which what has changed is found."""
        paths = {id(part): path for path, part in self.module.named_modules()}
        if isinstance(place.thing, nn.Module):
            names = _other(vars(place.thing), saved[0])
            owner = place.thing
        elif place.before is not None and _is_buffers(place):
            names = _other(place.thing, saved)
            owner = place.before.thing
        elif place.attribute is not None:
            owner, name = place.attribute
            names = [name]
        else:
            return
        if id(owner) in paths:
            yield from (f"{paths[id(owner)]}.{name}".lstrip(".") for name in names)


def _is_buffers(place: Found) -> bool:
    owner = place.before.thing if place.before else None
    return isinstance(owner, nn.Module) and place.thing is owner._buffers


def _other(table: dict[str, Any], saved: dict[str, Any]) -> list[str]:
    """The names whose object was replaced, added or removed."""
    return [name for name in {**saved, **table} if table.get(name) is not saved.get(name)]


def _tensors_of(module: nn.Module) -> Iterator[tuple[int, str]]:
    """The storage and name of each tensor of which a copy can take the place."""
    for path, part in module.named_modules():
        if keeps_statistics(part):
            continue
        for name, tensor in (*part._buffers.items(), *vars(part).items()):
            if isinstance(tensor, torch.Tensor) and not tensor.requires_grad:
                where = address(tensor)
                if where is not None:
                    yield where, f"{path}.{name}".lstrip(".")


def _statistics(module: nn.Module) -> Iterator[torch.Tensor]:
    """The running statistics of batch norms."""
    for part in module.modules():
        if keeps_statistics(part):
            yield from part.buffers(recurse=False)
