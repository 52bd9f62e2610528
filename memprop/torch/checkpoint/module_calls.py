"""The calls of chosen modules in a step: when each begins and ends, and what goes in and out."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from memprop.torch.checkpoint.deferred_tensor import TensorMeta
from memprop.torch.checkpoint.effects import Effects, Watched
from memprop.torch.checkpoint.writes import Writes, address
from memprop.torch.record.ledger import Ledger
from memprop.torch.state.ambient import drawn, switches
from memprop.torch.state.reach import Reach, Snapshot


class Token:
    """Stands for a tensor, which must not be held: the same one for the same tensor."""


@dataclass(frozen=True)
class Around:
    """What surrounds the blocks at a moment.

    Attributes:
        switches: of PyTorch.
        drawn: what tells which random numbers have been drawn.
    """

    switches: tuple[object, ...] = ()
    drawn: tuple[object, ...] = ()


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
        effects: its side effects.
        before: what surrounded it when it began.
        after: and when it had ended.
        result: a token of what it returned.
        kind: of that; ``None`` if it is not one tensor.
        variable: the number of the result in the trace.
        bytes: the size of the result.
    """

    name: str
    given: dict[int | str, Any]
    kinds: dict[int | str, TensorMeta]
    sizes: dict[int | str, int]
    storages: dict[int | str, int | None]
    begin: int
    end: int = -1
    backward: int | None = None
    past: int | None = None
    written: set[int | str] = field(default_factory=set)
    effects: Effects = field(default_factory=Effects)
    before: Around = Around()
    after: Around = Around()
    result: Token | None = None
    kind: TensorMeta | None = None
    variable: int | None = None
    bytes: int = 0


@dataclass(frozen=True)
class _Open:
    """A call that has begun, and what was there then.

    Attributes:
        call: the call.
        versions: how often each argument was written to.
        watched: other modules that it may change.
    """

    call: Call
    versions: dict[int | str, int]
    watched: Watched


class ModuleCallRecorder:
    """Notes the calls of some modules.

    Attributes:
        calls: in the order in which they began.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.calls: list[Call] = []
        self._ledger = ledger
        self._open: list[_Open] = []
        self._reach = Reach()
        self._writes = Writes()
        self._tokens = WeakTensorKeyDictionary()

    @contextmanager
    def on(self, names: Mapping[nn.Module, str]) -> Iterator[None]:
        """Note the calls of these modules, with their paths, inside the block."""
        with ExitStack() as stack:
            for module, name in names.items():
                stack.enter_context(self._watched(module, name))
            stack.enter_context(self._writes)
            yield

    @contextmanager
    def _watched(self, module: nn.Module, name: str) -> Iterator[None]:
        """Replace the module's call, hooks included, by another one."""
        own = module._call_impl

        def call(*args: Any, **kwargs: Any) -> Any:
            self._enter(module, name, _by_place(args, kwargs))
            result = own(*args, **kwargs)
            self._leave(_by_place(args, kwargs), result)
            return result

        vars(module)["_call_impl"] = call
        try:
            yield
        finally:
            del vars(module)["_call_impl"]

    def _around(self) -> Around:
        return Around(switches(), (self._writes.draws, *drawn()))

    def _enter(self, module: nn.Module, name: str, given: dict[int | str, Any]) -> None:
        tensors = _tensors(given)
        sizes = {key: _bytes(tensor) for key, tensor in tensors.items()}
        storages = {key: self._storage(tensor) for key, tensor in tensors.items()}
        tokens = tree_map(self._token, given)
        kinds = {key: TensorMeta.of(tensor) for key, tensor in tensors.items()}
        call = Call(name, tokens, kinds, sizes, storages, begin=len(self._ledger))
        self.calls.append(call)
        for tensor in tensors.values():
            if tensor.requires_grad:
                tensor.register_hook(lambda _: self._note_past(call))
        others = [(f"argument {key!r}", v) for key, v in given.items() if key not in tensors]
        places = self._reach([(name, module), *others])
        watched = Watched(module, places, Snapshot.of(places))
        self._open.append(_Open(call, _versions(given), watched))
        self._writes.open.append(watched.during)
        call.before = self._around()

    def _leave(self, given: dict[int | str, Any], result: Any) -> None:
        opened = self._open.pop()
        self._writes.open.pop()
        call = opened.call
        call.after = self._around()
        call.end = len(self._ledger)
        after = _versions(given)
        call.written = {key for key in after if after[key] != opened.versions.get(key)}
        arguments = {address(tensor) for tensor in _tensors(given).values()}
        call.effects = opened.watched.effects(arguments)
        if not isinstance(result, torch.Tensor):
            return
        call.result = self._token(result)
        call.variable = self._ledger.variable_of(result)
        call.kind = TensorMeta.of(result)
        call.bytes = _bytes(result)
        if result.requires_grad:
            result.register_hook(lambda _: self._note_backward(call))

    def _storage(self, tensor: torch.Tensor) -> int | None:
        storage = self._ledger.storages.get(tensor)
        return None if storage is None else storage.number

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
