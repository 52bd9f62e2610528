"""Places in which Python code keeps something from one call to the next.

A place is an object that can be changed: the attributes of a module, a list, a generator of random
numbers. What it holds can be saved, compared and put back. What is saved of a container is what it
holds, not copies of that: those are places of their own.
"""

import functools
import operator
import pickle
import random
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from types import CellType, FunctionType, MethodType
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

_LARGE: Final = 10_000
"""Of a container with more entries the size alone is saved."""
_LARGE_BYTES: Final = 2**20
"""Arrays with more bytes are data, and are not followed."""


@dataclass(frozen=True, eq=False)
class TensorMeta:
    """What can be done with places of one kind.

    Attributes:
        save: what it holds, to compare and to put back.
        same: whether it still holds what was saved.
        put: make it hold that again; ``None`` if that is not possible.
        inside: names and values of what it holds.
    """

    save: Callable[[Any], Any]
    same: Callable[[Any, Any], bool]
    put: Callable[[Any, Any], None] | None
    inside: Callable[[Any], Iterable[tuple[str, Any]]] = lambda _: ()


def _length(container: Any) -> int:
    return base_of(container).__len__(container)


def _same_values(values: Iterable[Any], saved: Iterable[Any]) -> bool:
    return all(map(operator.is_, values, saved))


def base_of(container: Any) -> Any:
    """The class of Python's own whose methods know what a container holds.

    Those of a user's class may do anything: make an object for each key, load, count, refuse. What
    is like a container, as a scripted module's table of parameters, has its own.
    """
    bases = (base for base in _CONTAINERS if isinstance(container, base))
    return next(bases, type(container))


_CONTAINERS: Final = (OrderedDict, dict, list, deque, set, tuple)


def entries_of(table: Any) -> dict[Any, Any]:
    """What a dictionary holds."""
    return dict(base_of(table).items(table))


def items_of(items: Any) -> list[Any]:
    """What a list, or another container of items, holds."""
    return list(base_of(items).__iter__(items))


def _same_table(table: Any, saved: dict[Any, Any]) -> bool:
    now = entries_of(table)
    return (
        len(now) == len(saved)
        and _same_values(now.values(), saved.values())
        and _same_values(now, saved)
    )


def put_table(table: Any, saved: dict[Any, Any]) -> None:
    """Make a dictionary hold what was saved of it."""
    base_of(table).clear(table)
    base_of(table).update(table, saved)


def _put_items(items: Any, saved: list[Any]) -> None:
    base_of(items).clear(items)
    base_of(items).extend(items, saved)


def _put_set(items: Any, saved: set[Any]) -> None:
    set.clear(items)
    set.update(items, saved)


def _same_items(items: Any, saved: list[Any]) -> bool:
    now = items_of(items)
    return len(now) == len(saved) and _same_values(now, saved)


def _named_items(items: Any) -> Iterator[tuple[str, Any]]:
    return ((f"[{place}]", item) for place, item in enumerate(items_of(items)))


def _named_entries(table: Any) -> Iterator[tuple[str, Any]]:
    return ((f"[{key!r}]", value) for key, value in entries_of(table).items())


def _named_attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    return ((f".{name}", value) for name, value in vars(thing).items())


_EMPTY: Final = (dict, OrderedDict)


def _save_module(module: nn.Module) -> tuple[dict[str, Any], list[Any]]:
    """The attributes, and those tables among them, of hooks above all, that are empty."""
    table = vars(module)
    return table.copy(), [v for v in table.values() if v.__class__ in _EMPTY and not v]


def _same_module(module: nn.Module, saved: tuple[dict[str, Any], list[Any]]) -> bool:
    return _same_table(vars(module), saved[0]) and not any(saved[1])


def _put_module(module: nn.Module, saved: tuple[dict[str, Any], list[Any]]) -> None:
    put_table(vars(module), saved[0])
    for table in saved[1]:
        table.clear()


def _in_module(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        if value.__class__ in _EMPTY and not value:
            continue
        if name == "_non_persistent_buffers_set":
            continue
        if name == "_parameters":  # which they are is for those to say who shard them
            yield from _named_entries(value)
        elif name in ("_modules", "_buffers"):
            yield "", value
        else:
            yield f".{name}", value


def _cell(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return _NOTHING


_NOTHING: Final = object()


def _put_cell(cell: CellType, saved: Any) -> None:
    if saved is _NOTHING:
        del cell.cell_contents
    else:
        cell.cell_contents = saved


def _of_class(kind: type) -> dict[str, Any]:
    """What a class holds apart from its methods."""
    return {
        name: value
        for name, value in vars(kind).items()
        if not name.startswith("__") and not callable(value) and not hasattr(value, "__get__")
    }


def _put_class(kind: type, saved: dict[str, Any]) -> None:
    for name in _of_class(kind).keys() - saved.keys():
        delattr(kind, name)
    for name, value in saved.items():
        if vars(kind).get(name) is not value:
            setattr(kind, name, value)


@dataclass(frozen=True)
class Globals:
    """The global variables that a function assigns."""

    table: dict[str, Any]
    names: tuple[str, ...]

    def now(self) -> dict[str, Any]:
        """What they are."""
        return {name: self.table[name] for name in self.names if name in self.table}

    def put(self, saved: dict[str, Any]) -> None:
        """Make them this again."""
        for name in self.names:
            if name in saved:
                self.table[name] = saved[name]
            else:
                self.table.pop(name, None)


def _slots(thing: Any) -> dict[str, Any]:
    names = [name for kind in type(thing).__mro__ for name in vars(kind).get("__slots__", ())]
    return {name: getattr(thing, name) for name in names if hasattr(thing, name)}


def _put_slots(thing: Any, saved: dict[str, Any]) -> None:
    for name in _slots(thing).keys() - saved.keys():
        delattr(thing, name)
    for name, value in saved.items():
        setattr(thing, name, value)


MODULE: Final = TensorMeta(_save_module, _same_module, _put_module, _in_module)
ATTRIBUTES: Final = TensorMeta(
    lambda thing: vars(thing).copy(),
    lambda thing, saved: _same_table(vars(thing), saved),
    lambda thing, saved: put_table(vars(thing), saved),
    _named_attributes,
)
SLOTS: Final = TensorMeta(
    _slots,
    lambda thing, saved: _same_table(_slots(thing), saved),
    _put_slots,
    lambda thing: ((f".{name}", value) for name, value in _slots(thing).items()),
)
TABLE: Final = TensorMeta(entries_of, _same_table, put_table, _named_entries)
ITEMS: Final = TensorMeta(items_of, _same_items, _put_items, _named_items)
SET: Final = TensorMeta(
    lambda items: set(items_of(items)),
    lambda items, saved: set.__eq__(items, saved),
    _put_set,
    _named_items,
)
CELL: Final = TensorMeta(
    _cell, lambda cell, saved: _cell(cell) is saved, _put_cell, lambda cell: [("", _cell(cell))]
)
_CLASS: Final = TensorMeta(
    _of_class,
    lambda kind, saved: _same_table(_of_class(kind), saved),
    _put_class,
    lambda kind: ((f".{name}", value) for name, value in _of_class(kind).items()),
)
GLOBALS: Final = TensorMeta(
    lambda names: names.now(),
    lambda names, saved: _same_table(names.now(), saved),
    lambda names, saved: names.put(saved),
)
ARRAY: Final = TensorMeta(
    lambda array: array.copy(),
    lambda array, saved: array.tobytes() == saved.tobytes(),
    lambda array, saved: np.copyto(array, saved),
)


def _torch_state(generator: torch.Generator) -> torch.Tensor:
    with torch._C._DisableTorchDispatch():  # no mode is to take it for a part of the step
        return generator.get_state()


def _same_torch_state(generator: torch.Generator, saved: torch.Tensor) -> bool:
    state = _torch_state(generator)
    with torch._C._DisableTorchDispatch():
        return state.numpy().tobytes() == saved.numpy().tobytes()


def _put_torch_state(generator: torch.Generator, saved: torch.Tensor) -> None:
    with torch._C._DisableTorchDispatch():
        generator.set_state(saved)


TORCH_GENERATOR: Final = TensorMeta(_torch_state, _same_torch_state, _put_torch_state)


def _put_numpy_generator(generator: np.random.Generator, saved: Any) -> None:
    generator.bit_generator.state = saved


NUMPY_GENERATOR: Final = TensorMeta(
    lambda generator: generator.bit_generator.state,
    lambda generator, saved: pickle.dumps(generator.bit_generator.state) == pickle.dumps(saved),
    _put_numpy_generator,
)
NUMPY_STATE: Final = TensorMeta(
    lambda state: state.get_state(),
    lambda state, saved: pickle.dumps(state.get_state()) == pickle.dumps(saved),
    lambda state, saved: state.set_state(saved),
)
RANDOM: Final = TensorMeta(
    lambda generator: generator.getstate(),
    lambda generator, saved: generator.getstate() == saved,
    lambda generator, saved: generator.setstate(saved),
)
ITERATOR: Final = TensorMeta(lambda _: None, lambda _, __: True, None)
"""What hands out one value after the other; it can neither be looked at nor put back."""
TOO_LARGE: Final = TensorMeta(_length, lambda thing, saved: _length(thing) == saved, None)
TENSOR: Final = TensorMeta(
    lambda tensor: None if is_lazy(tensor) or tensor.is_inference() else tensor._version,
    lambda tensor, saved: saved is None or tensor._version == saved,
    None,
    lambda tensor: _named_items(list(_hooks_of(tensor))),
)
"""Its version tells of writes; what it holds is for others to keep."""


def _hooks_of(tensor: torch.Tensor) -> Iterator[Any]:
    for hooks in (tensor._backward_hooks, tensor._post_accumulate_grad_hooks):
        yield from (hooks or {}).values()


def _with_attributes(kind: TensorMeta) -> TensorMeta:
    """The kind of a container whose class gives it attributes as well."""
    assert kind.put is not None  # noqa: S101 - every container can be put back
    put = kind.put

    def put_both(thing: Any, saved: Any) -> None:
        put(thing, saved[0])
        put_table(vars(thing), saved[1])

    return TensorMeta(
        lambda thing: (kind.save(thing), vars(thing).copy()),
        lambda thing, saved: kind.same(thing, saved[0]) and _same_table(vars(thing), saved[1]),
        put_both,
        lambda thing: (*kind.inside(thing), *_named_attributes(thing)),
    )


def _passed_through(inside: Callable[[Any], Iterable[tuple[str, Any]]]) -> TensorMeta:
    """The kind of what cannot be changed itself, and holds what can be."""
    return TensorMeta(lambda _: None, lambda _, __: True, lambda _, __: None, inside)


TUPLE: Final = _passed_through(_named_items)
METHOD: Final = _passed_through(lambda m: (("", m.__self__), ("", m.__func__)))
PARTIAL: Final = _passed_through(
    lambda p: (("", p.func), *_named_items(p.args), *_named_entries(p.keywords))
)
FUNCTION: Final = TensorMeta(
    lambda function: vars(function).copy(),
    lambda function, saved: _same_table(vars(function), saved),
    lambda function, saved: put_table(vars(function), saved),
    _named_attributes,
)
"""Its attributes; :mod:`memprop.torch.state.reach` reads its code as well."""

_ATOMS: Final = frozenset((int, float, bool, str, bytes, complex, type(None), torch.dtype))
_SIZED: Final = (TABLE, ITEMS, SET, TUPLE)
_OF_BASE: Final[tuple[tuple[type | tuple[type, ...], TensorMeta], ...]] = (
    (torch.Tensor, TENSOR),
    (nn.Module, MODULE),
    (torch.Generator, TORCH_GENERATOR),
    (np.random.Generator, NUMPY_GENERATOR),
    (np.random.RandomState, NUMPY_STATE),
    (random.SystemRandom, ITERATOR),
    (random.Random, RANDOM),
    (np.ndarray, ARRAY),
    (dict, TABLE),
    ((list, deque), ITEMS),
    (set, SET),
    (tuple, TUPLE),
    (CellType, CELL),
    (FunctionType, FUNCTION),
    (MethodType, METHOD),
    (functools.partial, PARTIAL),
    (Globals, GLOBALS),
)
_FOLLOWED_IN_LIBRARIES: Final = (
    *("torch.nn", "torch.ao", "torch.optim", "torch.distributed.fsdp"),
    "collections",
)
_LIBRARIES: Final = {"torch", "numpy", "memprop", *sys.stdlib_module_names} - {"__main__"}


def is_foreign(module: object) -> bool:
    """Whether code or a class of this module is a library's, in which no user keeps anything.

    ``module`` is what ``__module__`` says, which a class may have made something else than a name.
    """
    name = module if isinstance(module, str) else ""
    if name.startswith(_FOLLOWED_IN_LIBRARIES):
        return False
    return name.partition(".")[0] in _LIBRARIES


def kind_of(thing: Any) -> TensorMeta | None:
    """The kind of a place; ``None`` for what is none, as a number, and for what is not followed."""
    own = type(thing)
    if own in _ATOMS:
        return None
    if issubclass(own, type):
        return None if issubclass(thing, Enum) or is_foreign(thing.__module__) else _CLASS
    found = _kind_of_instances(own)
    if found in _SIZED and _length(thing) > _LARGE:
        return TOO_LARGE
    if found is ARRAY and thing.nbytes > _LARGE_BYTES:
        return None
    return found


@functools.lru_cache(maxsize=4096)
def _kind_of_instances(own: type) -> TensorMeta | None:
    for base, kind in _OF_BASE:
        if issubclass(own, base):
            has_more = own.__dictoffset__ != 0 and kind in (TABLE, ITEMS, SET)
            return _with_attributes(kind) if has_more and not is_foreign(own.__module__) else kind
    if hasattr(own, "__next__") and not hasattr(own, "fileno"):
        return ITERATOR
    if is_foreign(own.__module__) or issubclass(own, Enum):
        return None
    if own.__dictoffset__ != 0:
        return ATTRIBUTES
    return SLOTS if any("__slots__" in vars(base) for base in own.__mro__) else None
