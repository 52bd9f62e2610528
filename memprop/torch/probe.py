"""The calls of chosen modules in a step: when each begins and ends, and what goes in and out."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from memprop.torch.again import keeps_statistics
from memprop.torch.later import Kind
from memprop.torch.ledger import Ledger


class Token:
    """Stands for a tensor, which must not be held: the same one for the same tensor."""


_Buffers = dict[str, tuple[Token, int]]


@dataclass
class Call:
    """One call of a module; times are numbers of events.

    Attributes:
        name: the path of the module.
        given: its arguments, by place or by name, a token for every tensor in them.
        kinds: the kind of each tensor among them.
        sizes: the bytes of each.
        storages: the number of the storage of each.
        begin: when its forward began.
        end: when its forward had ended.
        backward: when its backward began; ``None`` if none did.
        past: when the gradient of what it was given was there; ``None`` if none was needed.
        written: the arguments that it wrote to.
        buffers: the buffers that it wrote to, but for the running statistics of batch norm.
        result: a token of what it returned.
        kind: of that; ``None`` if it is not one tensor.
        variable: the number of the result in the trace.
        bytes: the size of the result.
    """

    name: str
    given: dict[int | str, Any]
    kinds: dict[int | str, Kind]
    sizes: dict[int | str, int]
    storages: dict[int | str, int | None]
    begin: int
    end: int = -1
    backward: int | None = None
    past: int | None = None
    written: set[int | str] = field(default_factory=set)
    buffers: set[str] = field(default_factory=set)
    result: Token | None = None
    kind: Kind | None = None
    variable: int | None = None
    bytes: int = 0


class Probe:
    """Notes the calls of some modules.

    Attributes:
        calls: in the order in which they began.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.calls: list[Call] = []
        self._ledger = ledger
        self._open: list[tuple[Call, dict[int | str, int], _Buffers]] = []
        self._tokens = WeakTensorKeyDictionary()

    @contextmanager
    def on(self, names: Mapping[nn.Module, str]) -> Iterator[None]:
        """Note the calls of these modules, with their paths, inside the block."""
        with ExitStack() as stack:
            for module, name in names.items():
                for hook in self._hooks(module, name):
                    stack.callback(hook.remove)
            yield

    def _hooks(self, module: nn.Module, name: str) -> tuple[Any, Any]:
        return (
            module.register_forward_pre_hook(
                lambda _, args, kwargs: self._enter(module, name, _by_place(args, kwargs)),
                with_kwargs=True,
            ),
            module.register_forward_hook(
                lambda _, args, kwargs, result: self._leave(
                    module, _by_place(args, kwargs), result
                ),
                with_kwargs=True,
            ),
        )

    def _enter(self, module: nn.Module, name: str, given: dict[int | str, Any]) -> None:
        tensors = _tensors(given)
        sizes = {key: _bytes(tensor) for key, tensor in tensors.items()}
        storages = {key: self._storage(tensor) for key, tensor in tensors.items()}
        tokens = tree_map(self._token, given)
        kinds = {key: Kind.of(tensor) for key, tensor in tensors.items()}
        call = Call(name, tokens, kinds, sizes, storages, begin=len(self._ledger))
        self.calls.append(call)
        self._open.append((call, _versions(given), self._buffers(module)))
        for tensor in tensors.values():
            if tensor.requires_grad:
                tensor.register_hook(lambda _: self._note_past(call))

    def _leave(self, module: nn.Module, given: dict[int | str, Any], result: Any) -> None:
        call, before, buffers = self._open.pop()
        call.end = len(self._ledger)
        after = _versions(given)
        call.written = {key for key in after if after[key] != before.get(key)}
        now = self._buffers(module)
        call.buffers = {name for name in now if now[name] != buffers.get(name)}
        if not isinstance(result, torch.Tensor):
            return
        call.result = self._token(result)
        call.variable = self._ledger.variable_of(result)
        call.kind = Kind.of(result)
        call.bytes = _bytes(result)
        if result.requires_grad:
            result.register_hook(lambda _: self._note_backward(call))

    def _storage(self, tensor: torch.Tensor) -> int | None:
        storage = self._ledger.storages.get(tensor)
        return None if storage is None else storage.number

    def _buffers(self, module: nn.Module) -> "_Buffers":
        """Which tensor each buffer is, and how often it was written to."""
        return {
            f"{path}.{name}".lstrip("."): (self._token(buffer), buffer._version)
            for path, part in module.named_modules()
            if not keeps_statistics(part)
            for name, buffer in part.named_buffers(recurse=False)
        }

    def _token(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if value not in self._tokens:
            self._tokens[value] = Token()
        return self._tokens[value]

    def _note_past(self, call: Call) -> None:
        call.past = len(self._ledger)

    def _note_backward(self, call: Call) -> None:
        call.backward = len(self._ledger)


def _by_place(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[int | str, Any]:
    return {**dict(enumerate(args)), **kwargs}


def _tensors(given: Mapping[int | str, Any]) -> dict[int | str, torch.Tensor]:
    return {key: value for key, value in given.items() if isinstance(value, torch.Tensor)}


def _versions(given: Mapping[int | str, Any]) -> dict[int | str, int]:
    """How often each tensor was written to."""
    return {key: tensor._version for key, tensor in _tensors(given).items()}


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
