"""A forward pass that keeps less: what is to be computed again is noted, and let go of."""

import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from memprop.torch.checkpoint.host import Loaded, Offloaded
from memprop.torch.checkpoint.repeatable import (
    draws,
    generators,
    hindrance,
    is_mutable,
    is_plain,
    results,
    statistics,
)
from memprop.torch.checkpoint.values import (
    Call,
    Operand,
    Path,
    Source,
    Value,
    View,
    computed,
    whole_of,
)
from memprop.torch.record.again import last_noted
from memprop.torch.record.ours import asked_device, fake_mode
from memprop.torch.record.parts import any_wraps
from memprop.torch.record.schema import operands, with_operands, written

Paths = Mapping[Any, Mapping[int, Path]]
"""For an operator, and the how-many-th of its calls in a forward pass: the groups in which what it
makes is computed again, or :data:`LOADED`. What is not among them is left to PyTorch."""


class Tape(TorchDispatchMode):
    """Notes the calls of one forward pass that are to run again.

    It sees operators below autograd and autocast: what runs again are kernels with the operands
    that they had, and no code of the user's. So nothing that a module does beside them, counters,
    hooks, caches, random numbers, happens twice, and a recomputed tensor has the same bits.

    Args:
        paths: what runs again.

    Attributes:
        seen: how many calls there were of each operator that is among ``paths``.
    """

    def __init__(self, paths: Paths) -> None:
        super().__init__()
        self.seen: Counter[Any] = Counter()
        self._paths = paths
        self._values: dict[int, tuple[weakref.ref[Any], Value]] = {}
        self._numbers = 0
        self._given: weakref.WeakSet[Value] = weakref.WeakSet()
        self._node = -1
        self._lock = threading.RLock()
        self._fakes = fake_mode()
        self._pauses = False

    @contextmanager
    def on(self) -> Iterator[None]:
        """Follow the forward pass that runs inside the block."""
        with saved_tensors_hooks(self._pack, self._unpack), self:
            yield
        self._values.clear()  # what no node has saved is not wanted any more

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if (device := asked_device(func, args)) is not None:
            return device
        kwargs = kwargs or {}
        if any_wraps(types):
            return NotImplemented  # it comes again with what they wrap
        paths = self._paths.get(func)
        if paths is None and not is_mutable(func):
            return func(*args, **kwargs)
        if self._pauses or fake_mode() is not self._fakes:
            return func(*args, **kwargs)
        number = self.seen[func]
        self.seen[func] += 1
        path = None if paths is None else paths.get(number)
        if path is None:
            self._forget(written(func, args, kwargs))
            return func(*args, **kwargs)
        if isinstance(path, Loaded):
            return self._followed(path, func, args, kwargs)
        return self._noted(path, func, args, kwargs)

    def _followed(self, path: Path, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Run an operator whose results go to the host as soon as nodes save them."""
        self._forget(written(func, args, kwargs))
        result = func(*args, **kwargs)
        known = {tensor.untyped_storage()._cdata for tensor in operands(args, kwargs)}
        for tensor in filter(is_plain, results(result)):
            if tensor.untyped_storage()._cdata not in known:
                known.add(tensor.untyped_storage()._cdata)
                self._numbers += 1
                self._add(tensor, Value(Offloaded(self._numbers, last_noted()), 0, path))
        return result

    def _add(self, tensor: torch.Tensor, value: Value) -> None:
        """A call made this value, of which a tensor is a view."""
        home = tensor.untyped_storage()
        value.call.made(value)
        self._values[home._cdata] = (weakref.ref(home), value)

    def _noted(self, path: Path, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Run an operator that is to run again."""
        states = _states(args, kwargs) if draws(func) else []
        inputs: list[Value] = []
        scratch = {id(tensor) for tensor in statistics(func, args, kwargs)}
        changed = [t for t in written(func, args, kwargs) if id(t) not in scratch]
        over = [self._value(tensor) for tensor in changed]
        if None in over or len(over) > 1:
            self._forget(changed)  # it writes over what is not known
            return func(*args, **kwargs)

        def noted(tensor: torch.Tensor) -> Any:
            value = self._value(tensor)
            if value is not None:
                inputs.append(value)
                if isinstance(value.call, Offloaded):
                    source = Source.of(tensor, watched=True)
                    value.call.hold(lambda: whole_of(source.now(func)))
                return Operand(value, View.of(tensor))
            return Source.of(tensor, watched=id(tensor) not in scratch)

        again = func
        if func is EMPTY_LIKE:  # all that it reads of its operand is the shape
            result = func(*args, **kwargs)
            again, kept = _EMPTY, _as_empty(result)
        else:
            kept = with_operands(noted, args, kwargs)
            result = func(*args, **kwargs)
        known = {tensor.untyped_storage()._cdata for tensor in operands(args, kwargs)}
        if hindrance(func, args, kwargs, result):
            self._forget(changed)
            return result
        self._numbers += 1
        call = Call(
            self._numbers, again, *kept, inputs, over[0] if over else None, states, last_noted()
        )
        known -= {tensor.untyped_storage()._cdata for tensor in changed}
        for place, tensor in enumerate(results(result)):
            home = tensor.untyped_storage()
            if home._cdata not in known:  # no view of an operand, nor of a result before
                known.add(home._cdata)
                self._add(tensor, Value(call, place, path))
        return result

    def _value(self, tensor: torch.Tensor) -> Value | None:
        """The value that a tensor is a view of, if it is to be computed again."""
        if not is_plain(tensor):
            return None
        home = tensor.untyped_storage()
        alive, value = self._values.get(home._cdata, (None, None))
        return value if alive is not None and alive() is home else None

    def _forget(self, tensors: Sequence[torch.Tensor]) -> None:
        """What is written to and cannot be computed again is left to PyTorch."""
        for tensor in tensors:
            if self._value(tensor) is not None:
                del self._values[tensor.untyped_storage()._cdata]

    def _pack(self, tensor: torch.Tensor) -> "Handle | Kept":
        value = self._value(tensor) if is_plain(tensor) else None
        if value is None:
            return Kept(tensor, tensor._version)
        if isinstance(value.call, Offloaded):
            self._pauses = True
            try:
                with torch.no_grad():
                    value.call.store(whole_of(tensor.detach()))
            finally:
                self._pauses = False
        return Handle(value, View.of(tensor))

    def _unpack(self, saved: "Handle | Kept") -> torch.Tensor:
        if isinstance(saved, Kept):
            return saved.tensor_now()
        with self._lock:
            self._enter(torch._C._current_autograd_node())
            tensor = saved.view.on(computed(saved.value))
            saved.value.give(id(saved))
            self._given.add(saved.value)
            return tensor

    def _enter(self, node: Any) -> None:
        """Let go of what nodes before this one got, where the graph is kept for another walk."""
        number = -1 if node is None else node._sequence_nr()
        if number != self._node:
            self._node = number
            for value in self._given:
                value.let_go()
            self._given.clear()


EMPTY_LIKE: Final = torch.ops.aten.empty_like.default
_EMPTY: Final = torch.ops.aten.empty_strided.default


def _as_empty(like: torch.Tensor) -> tuple[list[Any], dict[str, Any]]:
    """The arguments with which an empty tensor like one is made without it."""
    return [list(like.shape), list(like.stride())], {"dtype": like.dtype, "device": like.device}


class Handle:
    """What a node has saved of a value that is to be computed again.

    Attributes:
        value: the value.
        view: the tensor in it.
    """

    __slots__ = ("value", "view")

    def __init__(self, value: Value, view: View) -> None:
        self.value, self.view = value, view
        value.expect(id(self))

    def __del__(self) -> None:
        self.value.forget(id(self))


class Kept:
    """What a node has saved as it is.

    PyTorch leaves it to hooks on saved tensors to find out what was written to.

    Attributes:
        tensor: the tensor.
        version: how often it had been written to.
    """

    __slots__ = ("tensor", "version")

    def __init__(self, tensor: torch.Tensor, version: int) -> None:
        self.tensor, self.version = tensor, version

    def tensor_now(self) -> torch.Tensor:
        """The tensor.

        Raises:
            RuntimeError: it has been written to since.
        """
        if self.tensor._version != self.version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an "
                f"inplace operation: a tensor of shape {tuple(self.tensor.shape)} is at version "
                f"{self.tensor._version}; expected version {self.version} instead"
            )
        return self.tensor


def _states(
    args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[tuple[torch.Generator, torch.Tensor]]:
    """The generators that an operator may draw from, with their states."""
    if fake_mode() is not None:
        return []
    with torch._C._DisableTorchDispatch():
        return [(one, one.get_state()) for one in generators(args, kwargs)]
