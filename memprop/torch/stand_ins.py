"""What a step can reach of a user's program, with fakes in the place of its tensors.

A simulated step may write to attributes, append to lists, replace buffers. So everything that is
reachable from its module, loss and optimizer is noted first, and put back at the end.
"""

import functools
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

_MOST = 200_000
"""Objects to look at. A program that refers to more is not noted beyond the first so many."""


class StandIns:
    """Replaces tensors in all that can be reached, and remembers what was there.

    Args:
        stand_in: gives the tensor to put in the place of another one; the same one to leave it.
    """

    def __init__(self, stand_in: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._stand_in = stand_in
        self._seen: dict[int, Any] = {}
        self._undo: list[Callable[[], None]] = []

    def replace(self, roots: Iterable[Any]) -> None:
        """Put stand-ins into all that is reachable from ``roots``, beyond what was seen before."""
        todo = deque(roots)
        while todo and len(self._seen) < _MOST:
            found = todo.popleft()
            if id(found) in self._seen or not _is_looked_into(found):
                continue
            self._seen[id(found)] = found  # no other object may get its id meanwhile
            todo.extend(self._look_into(found))

    def swapped(self, value: Any) -> Any:
        """A value with stand-ins for its tensors: a tensor, or a tuple that has some."""
        if isinstance(value, torch.Tensor):
            return self._stand_in(value)
        if isinstance(value, tuple) and any(isinstance(one, torch.Tensor | tuple) for one in value):
            parts = [self.swapped(one) for one in value]
            if all(a is b for a, b in zip(parts, value, strict=True)):
                return value
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        return value

    def put_back(self) -> None:
        """Make everything as it was."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        self._seen.clear()

    def _look_into(self, found: Any) -> Iterator[Any]:
        """Replace the tensors that an object holds; everything else that it refers to."""
        if isinstance(found, dict):
            yield from self._in_dict(found)
        elif isinstance(found, list | deque):
            yield from self._in_list(found)
        elif isinstance(found, set):
            before = set(found)
            self._undo.append(lambda: _refill_set(found, before))
            yield from found
        elif isinstance(found, types.FunctionType):
            yield from self._in_function(found)
        else:
            yield from _references(found)

    def _in_dict(self, found: dict[Any, Any]) -> Iterator[Any]:
        before = dict(found)
        now = {self.swapped(key): self.swapped(value) for key, value in before.items()}
        if not _same(now, before):
            _refill_dict(found, now)
        self._undo.append(lambda: _refill_dict(found, before))
        yield from before.values()

    def _in_list(self, found: Any) -> Iterator[Any]:
        before = list(found)
        for place, value in enumerate(before):
            swapped = self.swapped(value)
            if swapped is not value:
                found[place] = swapped
        self._undo.append(lambda: _refill_list(found, before))
        yield from before

    def _in_function(self, found: types.FunctionType) -> Iterator[Any]:
        yield from _globals_of(found)
        for cell in found.__closure__ or ():
            try:
                before = cell.cell_contents
            except ValueError:
                continue  # a name that has no value yet
            swapped = self.swapped(before)
            if swapped is not before:
                cell.cell_contents = swapped
            self._undo.append(functools.partial(setattr, cell, "cell_contents", before))
            yield before
        yield from found.__defaults__ or ()


_PLAIN = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType)
_LEFT_ALONE = {"memprop", "numpy", "pandas", *sys.stdlib_module_names} - {"builtins", "__main__"}
"""Packages whose objects are not looked into: they hold no tensors of a step."""


def _is_looked_into(found: Any) -> bool:
    if isinstance(found, _PLAIN):
        return False
    return isinstance(found, _OPENED) or _table(found) is not None


_OPENED = (
    *(dict, list, deque, set, tuple, frozenset, torch.Tensor),
    *(types.FunctionType, types.MethodType, functools.partial),
)


def _table(found: Any) -> dict[str, Any] | None:
    """The attributes of an object, if they may change in a step."""
    if isinstance(found, types.FunctionType | torch.jit.ScriptModule | torch.Tensor):
        return None
    kind = type(found)
    package = kind.__module__.partition(".")[0]
    if package in _LEFT_ALONE or kind.__module__.startswith("torch._"):
        return None
    table = getattr(found, "__dict__", None)
    return table if isinstance(table, dict) else None


def _references(found: Any) -> Iterator[Any]:
    """What an object refers to that cannot be replaced in it, and the table of its attributes."""
    if isinstance(found, tuple | frozenset):
        yield from found
    elif isinstance(found, types.MethodType):
        yield from (found.__self__, found.__func__)
    elif isinstance(found, functools.partial):
        yield from (found.func, found.args, found.keywords)
    elif isinstance(found, torch.Tensor):
        yield from _hooks_of(found)
    elif isinstance(found, nn.Module):
        yield type(found).forward
    if (table := _table(found)) is not None:
        yield table


def _hooks_of(tensor: torch.Tensor) -> Iterator[Any]:
    for hooks in (tensor._backward_hooks, tensor._post_accumulate_grad_hooks):
        yield from (hooks or {}).values()


def _globals_of(function: types.FunctionType) -> Iterator[Any]:
    """The models, optimizers, containers and functions beside it that a user's function names."""
    if not _is_user_code(function.__module__ or ""):
        return
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        beside = isinstance(value, types.FunctionType) and value.__module__ == function.__module__
        if beside or isinstance(value, dict | list | set | deque | nn.Module | Optimizer):
            yield value


def _is_user_code(module: str) -> bool:
    package = module.partition(".")[0]
    return package != "torch" and package not in _LEFT_ALONE


def _same(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    if len(one) != len(other):
        return False
    pairs = zip(one.items(), other.items(), strict=True)
    return all(a is c and b is d for (a, b), (c, d) in pairs)


def _refill_dict(found: dict[Any, Any], content: dict[Any, Any]) -> None:
    if not _same(found, content):
        kind: Any = OrderedDict if isinstance(found, OrderedDict) else dict
        kind.clear(found)  # a subclass may forbid it
        kind.update(found, content)


def _refill_list(found: Any, content: list[Any]) -> None:
    now = list(found)
    if len(now) != len(content) or any(a is not b for a, b in zip(now, content, strict=True)):
        found.clear()
        found.extend(content)


def _refill_set(found: set[Any], content: set[Any]) -> None:
    if found != content:
        found.clear()
        found.update(content)
