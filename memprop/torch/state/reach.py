"""Every place that some modules can reach, and what it held at a moment."""

import builtins
import dis
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from torch import nn

from memprop.torch.state.places import Globals, TensorMeta, is_foreign, kind_of

_MOST: Final = 100_000
"""Places in which a search ends: beyond, it is not a block's state but a data set."""


@dataclass(frozen=True, slots=True)
class Found:
    """A place that was found.

    Attributes:
        thing: the object.
        kind: of what kind it is.
        before: what it was found in; ``None`` for one of those from which the search began.
        name: by which it is found in that.
    """

    thing: Any
    kind: TensorMeta
    before: "Found | None"
    name: str

    @property
    def path(self) -> str:
        """The way to it, as ``blocks.0.drop.generator``."""
        begin = "" if self.before is None else self.before.path
        return _joined(begin, self.name)

    @property
    def attribute(self) -> tuple[nn.Module, str] | None:
        """The module nearest to it, and the attribute through which it is found there."""
        below = None
        at: Found | None = self
        while at is not None and not isinstance(at.thing, nn.Module):
            if at.name:
                below = at
            at = at.before
        if at is None or below is None or not below.name.startswith((".", "[")):
            return None
        return at.thing, below.name.strip("[].'")


def _joined(begin: str, name: str) -> str:
    if name.startswith("['") and not begin.endswith("]"):  # of a table of modules
        return f"{begin}.{name[2:-2]}".lstrip(".")
    return f"{begin}{name}"


class Reach:
    """Searches from modules: attributes, containers, hooks, and what their code refers to.

    Followed are the attributes of objects of the user's classes, the cells, defaults and global
    variables of functions, and what classes hold. What the standard library, NumPy and PyTorch keep
    for themselves is not.
    """

    def __init__(self) -> None:
        self._referred: dict[Any, tuple[tuple[str, Any], ...]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a file gets: it searches anew."""
        return {"_referred": {}}

    def __call__(self, roots: Iterable[tuple[str, Any]]) -> list[Found]:
        """The places that can be reached from named objects."""
        todo: list[tuple[Found | None, str, Any]] = [(None, name, root) for name, root in roots]
        seen: dict[int, Any] = {}
        found: list[Found] = []
        while todo and len(found) < _MOST:
            before, name, thing = todo.pop()
            kind = kind_of(thing)
            if kind is None or id(thing) in seen:
                continue
            seen[id(thing)] = thing
            place = Found(thing, kind, before, name)
            found.append(place)
            todo.extend((place, key, value) for key, value in kind.inside(thing))
            todo.extend((place, key, value) for key, value in self._code_of(thing))
        return found

    def _code_of(self, thing: Any) -> tuple[tuple[str, Any], ...]:
        """What the code of a function, or of the class of an object, refers to."""
        key = thing if isinstance(thing, FunctionType) else type(thing)
        if key not in self._referred:
            functions = [key] if isinstance(key, FunctionType) else _methods(key)
            named = [item for function in functions for item in _referred(function)]
            if isinstance(key, type) and not _is_library(key.__module__) and _is_own(key):
                named.append((f" (class {key.__name__})", key))
            self._referred[key] = tuple(
                (name, value) for name, value in named if kind_of(value) is not None
            )
        return self._referred[key]


def _methods(kind: type) -> list[FunctionType]:
    """The functions that the classes of an object define, but for those of libraries."""
    return [
        function
        for base in kind.__mro__
        if not _is_library(base.__module__) and _is_own(base)
        for name, value in vars(base).items()
        if name not in ("__init__", "__init_subclass__", "__repr__", "__new__")
        for function in _functions(value)
    ]


def _is_own(kind: type) -> bool:
    """Whether a class is a module, or no installed library's: one whose code may keep something."""
    if issubclass(kind, nn.Module):
        return True
    file = getattr(sys.modules.get(str(kind.__module__)), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def _functions(value: Any) -> Iterator[FunctionType]:
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__func__", value)
    if isinstance(value, FunctionType):
        yield value


def _is_library(module: object) -> bool:
    return is_foreign(module) or str(module).startswith(("torch.", "collections"))


def _referred(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The cells, defaults and global variables of a function."""
    name = f" ({function.__qualname__})"
    for variable, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        yield f"{name} {variable}", cell
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield f"{name} default", value
    if _is_library(function.__module__):
        return
    table = function.__globals__
    assigned: list[str] = []
    for code in _codes(function.__code__):
        instructions = [(i.opname, i.argval) for i in dis.get_instructions(code)]
        for variable, value in _read(instructions, table):
            yield f"{name} {variable}", value
        assigned += [argument for kind, argument in instructions if kind == "STORE_GLOBAL"]
    if assigned:
        yield f"{name} global {assigned[0]}", Globals(table, tuple(dict.fromkeys(assigned)))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _read(
    instructions: Iterable[tuple[str, Any]], table: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """What the names in a piece of code stand for, ``library.generator`` included."""
    found = list(instructions)
    attributes = {name for kind, name in found if kind in ("LOAD_ATTR", "LOAD_METHOD")}
    for name in dict.fromkeys(name for kind, name in found if kind == "LOAD_GLOBAL"):
        value = table.get(name)
        if isinstance(value, ModuleType):
            if not _is_library(value.__name__):
                inside = vars(value)
                yield from ((f"{name}.{n}", inside[n]) for n in attributes if n in inside)
        elif value is not None and not hasattr(builtins, name):
            yield name, value


@dataclass(frozen=True)
class Snapshot:
    """What places held at a moment."""

    places: tuple[tuple[Found, Any], ...]

    @classmethod
    def of(cls, places: Iterable[Found]) -> "Snapshot":
        """What these hold now."""
        return cls(tuple((place, place.kind.save(place.thing)) for place in places))

    def changed(self) -> Iterator[tuple[Found, Any]]:
        """The places that hold something else now, and what was saved of them."""
        for place, saved in self.places:
            if not place.kind.same(place.thing, saved):
                yield place, saved

    def put_back(self) -> None:
        """Make every place hold again what it held; tensors are left as they are."""
        for place, saved in self.changed():
            if place.kind.put is not None:
                place.kind.put(place.thing, saved)
