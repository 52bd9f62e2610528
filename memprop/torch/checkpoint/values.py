"""What an operator of the forward pass made, and how to make it again.

A value is what a storage holds from one write to the next. A saved tensor is a view of one, so
values, and not tensors, are kept or computed again.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from memprop.errors import ScheduleError
from memprop.torch.checkpoint.host import Offloaded
from memprop.torch.checkpoint.repeatable import results
from memprop.torch.record.again import running_again

Path = tuple[int, ...]
"""The groups in which a value is computed again, the outermost first.

A value that is computed for the sake of another is held for its own readers only if its groups are
among the other's; else it is let go of and computed once more for these.
"""


class View(NamedTuple):
    """How a tensor lies in its storage, and what PyTorch has put off doing to its numbers."""

    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    conjugated: bool
    negated: bool

    @classmethod
    def of(cls, tensor: torch.Tensor) -> "View":
        """The view that a tensor is."""
        return cls(
            dtype=tensor.dtype,
            size=tuple(tensor.size()),
            stride=tensor.stride(),
            offset=int(tensor.storage_offset()),
            conjugated=tensor.is_conj(),
            negated=tensor.is_neg(),
        )

    def on(self, whole: torch.Tensor) -> torch.Tensor:
        """The same view of another storage, of which ``whole`` is a view of one dimension."""
        if whole.dtype != self.dtype:
            whole = whole.view(self.dtype)
        found = whole.as_strided(self.size, self.stride, self.offset)
        if self.conjugated:
            found = found.conj()
        return torch.ops.aten._neg_view(found) if self.negated else found


def whole_of(tensor: torch.Tensor) -> torch.Tensor:
    """The storage of a tensor as a tensor of one dimension, of the numbers that it holds."""
    if tensor.is_conj():
        tensor = tensor.conj()
    if tensor.is_neg():
        tensor = torch.ops.aten._neg_view(tensor)
    length = tensor.untyped_storage().nbytes() // tensor.element_size()
    return tensor.as_strided((length,), (1,), 0)


class Awaited:
    """What nodes of the backward pass will ask for.

    Attributes:
        whole: all of it, while it is there.
    """

    __slots__ = ("__weakref__", "_handles", "_waiting", "whole")

    def __init__(self) -> None:
        self.whole: torch.Tensor | None = None
        self._handles: set[int] = set()
        self._waiting: set[int] = set()

    @property
    def is_awaited(self) -> bool:
        """Whether a node will still ask for it."""
        return bool(self._waiting)

    def expect(self, handle: int) -> None:
        """A node has saved it."""
        self._handles.add(handle)
        self._waiting.add(handle)

    def give(self, handle: int) -> None:
        """A node has got it. It stays while that node runs, which may ask for more."""
        self._waiting.discard(handle)

    def forget(self, handle: int) -> None:
        """The node that saved it is gone."""
        self._handles.discard(handle)
        self._waiting.discard(handle)
        self.let_go()

    def let_go(self) -> None:
        """Drop it if no node waits for it. If the graph is walked again, all wait once more."""
        if not self._waiting:
            self.whole = None
            self._waiting |= self._handles


class Value(Awaited):
    """What one operator made in one storage.

    Attributes:
        call: makes it again, or brings it back.
        place: of the first result of the call that lies in the storage.
        path: the groups in which it is computed again.
    """

    __slots__ = ("call", "path", "place")

    def __init__(self, call: "Call | Offloaded", place: int, path: Path) -> None:
        super().__init__()
        self.call = call
        self.place = place
        self.path = path

    def is_held_for(self, path: Path) -> bool:
        """Whether it stays for those that still wait for it, if computed in these groups."""
        return self.is_awaited and path[: len(self.path)] == self.path


class Operand(NamedTuple):
    """An operand that is computed again: a view of a value."""

    value: Value
    view: View


class Source(NamedTuple):
    """An operand that is kept.

    Attributes:
        tensor: itself, without its graph.
        version: how often it had been written to; -1 if that does not matter.
    """

    tensor: torch.Tensor
    version: int

    @classmethod
    def of(cls, tensor: torch.Tensor, *, watched: bool) -> "Source":
        """An operand as it is now.

        Args:
            tensor: the operand.
            watched: whether it matters that something is written to it later.
        """
        # Below autograd, a view counts what is written to it by itself unless told otherwise.
        with torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.ADInplaceOrView, False):
            return cls(tensor.detach(), tensor._version if watched else -1)

    def now(self, func: Any) -> torch.Tensor:
        """The tensor.

        Raises:
            ScheduleError: it has been written to since.
        """
        if self.version < 0:  # running statistics, which are updated and not read
            return self.tensor.clone()
        if self.tensor._version != self.version:
            raise ScheduleError(
                f"an operand of {func.name()}, of shape {tuple(self.tensor.shape)}, has been "
                "written to since it ran, so that it cannot run again: write to it after the "
                "backward pass, or plan again with a step that does the same"
            )
        return self.tensor


class Call:
    """One call of an operator, to be made again.

    Attributes:
        number: in the order of the forward pass.
        func: the operator.
        inputs: the values among its operands.
        changed: the value that it writes over, if it does.
    """

    __slots__ = (
        *("_args", "_kwargs", "_made", "_states", "_token"),
        *("changed", "func", "inputs", "number"),
    )

    def __init__(
        self,
        number: int,
        func: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        inputs: list[Value],
        changed: Value | None,
        states: list[tuple[torch.Generator, torch.Tensor]],
        token: object,
    ) -> None:
        self.number = number
        self.func = func
        self.inputs = inputs
        self.changed = changed
        self._args, self._kwargs = args, kwargs
        self._states = states
        self._token = token
        self._made: list[weakref.ref[Value]] = []

    def made(self, value: Value) -> None:
        """Say what it made."""
        self._made.append(weakref.ref(value))

    def values(self) -> Iterator[Value]:
        """What it made, as far as anyone still wants it."""
        for reference in self._made:
            if (value := reference()) is not None:
                yield value

    def run(self, whole: Callable[[Value], torch.Tensor]) -> list[torch.Tensor]:
        """Run again.

        Args:
            whole: gives each value among the operands.
        """
        # No function inside this one that calls itself: it would be a cycle, and what it refers to
        # would live until Python looks for those.
        args = [self._now(one, whole) for one in self._args]
        kwargs = {name: self._now(one, whole) for name, one in self._kwargs.items()}
        with drawing_as_before(self._states), running_again(self._token):
            return list(results(self.func(*args, **kwargs)))

    def _now(self, operand: Any, whole: Callable[[Value], torch.Tensor]) -> Any:
        """What stands for an operand, as it is now."""
        if isinstance(operand, Operand):
            return operand.view.on(whole(operand.value))
        if isinstance(operand, Source):
            return operand.now(self.func)
        if type(operand) is list:
            return [self._now(one, whole) for one in operand]
        return operand


@contextmanager
def drawing_as_before(states: Sequence[tuple[torch.Generator, torch.Tensor]]) -> Iterator[None]:
    """Let generators draw again, inside the block, what they drew from these states on."""
    if not states:
        yield
        return
    with torch._C._DisableTorchDispatch():
        now = [(generator, generator.get_state()) for generator, _ in states]
        for generator, state in states:
            generator.set_state(state)
    try:
        yield
    finally:
        with torch._C._DisableTorchDispatch():
            for generator, state in now:
                generator.set_state(state)


def computed(target: Value) -> torch.Tensor:
    """All of a value: as it is there, or computed again."""
    if target.whole is not None:
        return target.whole
    calls = _calls_for(target)
    wanted = Counter(id(value) for call in calls for value in call.inputs if value.whole is None)
    wanted[id(target)] += 1
    there: dict[int, torch.Tensor] = {}

    def whole(value: Value) -> torch.Tensor:
        found = there.get(id(value), value.whole)
        assert found is not None  # noqa: S101 - calls come after those that make their operands
        return found

    # Autocast has had its say. Where gradients are enabled in a backward pass, recorders know that
    # something runs again; there are none to compute, for no operand needs one.
    with torch.enable_grad(), torch._C._DisableAutocast():
        for call in calls:
            _unshare(call, there)
            made = call.run(whole)
            for value in call.values():
                if wanted[id(value)] or value.is_held_for(target.path):
                    there[id(value)] = whole_of(made[value.place])
                    if value.is_held_for(target.path):
                        value.whole = there[id(value)]
            del made
            for value in call.inputs:
                wanted[id(value)] -= 1
                if wanted[id(value)] == 0:
                    there.pop(id(value), None)
    return there[id(target)]


def _calls_for(target: Value) -> list[Call | Offloaded]:
    """The calls that make a value out of what is there, in order."""
    found: dict[int, Call | Offloaded] = {}
    todo = [target]
    while todo:
        value = todo.pop()
        if value.whole is None and value.call.number not in found:
            found[value.call.number] = value.call
            todo.extend(value.call.inputs)
    return [found[number] for number in sorted(found)]


def _unshare(call: Call | Offloaded, there: dict[int, torch.Tensor]) -> None:
    """Let a call that writes to a value which others wait for write to a copy."""
    value = call.changed
    if value is not None and value.whole is not None:
        there[id(value)] = value.whole.clone()
