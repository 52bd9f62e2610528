"""Stand-ins for the tensors of a user's program that a step can reach.

A simulated step may write to attributes, append to lists, replace buffers. So all that can be
reached from its module, loss and optimizer is noted first, and put back at the end.
"""

from collections import deque
from collections.abc import Callable, MutableMapping
from types import CellType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from memprop.torch.state.places import base_of, entries_of, items_of, put_table
from memprop.torch.state.reach import Found, Reach, Snapshot


class StandIns:
    """Replaces tensors in all that can be reached, and remembers what was there.

    Args:
        stand_in: returns the replacement of a tensor, or the tensor itself to leave it.
    """

    def __init__(self, stand_in: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._stand_in = stand_in
        self._reach = Reach()
        self._seen: dict[int, Any] = {}
        self._snapshots: list[Snapshot] = []
        self._parameters: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def replace(self, *roots: Any) -> None:
        """Put stand-ins into all that can be reached, beyond what was seen before."""
        new = [("", root) for root in roots if id(root) not in self._seen]
        found = [place for place in self._reach(new) if id(place.thing) not in self._seen]
        self._seen |= {id(place.thing): place.thing for place in found}
        self._snapshots.append(Snapshot.of(found))
        for place in found:
            self._replace_in(place)

    def swapped(self, value: Any) -> Any:
        """A value with stand-ins for its tensors: a tensor, or a tuple that has some."""
        if isinstance(value, torch.Tensor):
            return value if is_lazy(value) else self._stand_in(value)  # it has no shape yet
        if isinstance(value, tuple) and any(isinstance(one, torch.Tensor | tuple) for one in value):
            parts = [self.swapped(one) for one in value]
            if all(a is b for a, b in zip(parts, value, strict=True)):
                return value
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        return value

    def put_back(self) -> None:
        """Restore everything."""
        for table, before in self._parameters:
            put_table(table, before)
        for snapshot in reversed(self._snapshots):
            snapshot.put_back()
        self._seen.clear()

    def _replace_in(self, place: Found) -> None:
        thing = place.thing
        if isinstance(thing, dict):
            self._in_table(thing)
        elif isinstance(thing, list | deque):
            self._in_items(thing)
        elif isinstance(thing, CellType):
            self._in_cell(thing)
        elif isinstance(thing, nn.Module):
            self._in_module(thing)
        elif not isinstance(thing, torch.Tensor | type) and hasattr(thing, "__dict__"):
            self._in_table(vars(thing))

    def _in_module(self, module: nn.Module) -> None:
        self._in_table(vars(module))
        parameters = vars(module).get("_parameters")
        if isinstance(parameters, dict):  # a scripted module has another kind
            self._parameters.append((parameters, dict(parameters)))
            self._in_table(parameters)

    def _in_table(self, table: MutableMapping[Any, Any]) -> None:
        before = entries_of(table)
        now = {self.swapped(key): self.swapped(value) for key, value in before.items()}
        if any(key not in before or before[key] is not value for key, value in now.items()):
            put_table(table, now)

    def _in_items(self, items: Any) -> None:
        for place, value in enumerate(items_of(items)):
            swapped = self.swapped(value)
            if swapped is not value:
                base_of(items).__setitem__(items, place, swapped)

    def _in_cell(self, cell: CellType) -> None:
        try:
            value = cell.cell_contents
        except ValueError:  # a name that has no value yet
            return
        swapped = self.swapped(value)
        if swapped is not value:
            cell.cell_contents = swapped
