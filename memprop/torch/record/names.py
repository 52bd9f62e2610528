"""What the user's program calls its modules, optimizers and tensors."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, Final

from torch import nn

from memprop.torch.record.lines import users_frames

_OF_MODULES: Final = ("_modules", "_parameters", "_buffers")
"""Where a module keeps its parts: what lives in them is called after the module itself."""


_MOST: Final = 1000
"""Containers with more entries are not looked through."""

_OF_NOBODY: Final = 3
"""References to the variables of a frame where the program has none: the frame's, and two here."""


class Names:
    """Finds names: those that were given, else variables of the code that runs.

    Args:
        given: names, and what is called so.
        look: whether to look among variables.
    """

    def __init__(self, given: Mapping[str, Any] | None = None, *, look: bool = False) -> None:
        self._given = dict(given or {})
        self._look = look

    def of(self, thing: object, default: str = "") -> str:
        """The name of something; ``default``, or that of its class, if it has none."""
        return next(self._calling(thing), default or type(thing).__name__)

    def root_of(self, module: nn.Module) -> tuple[str, nn.Module]:
        """The module, or a larger one that it is a part of, with its name."""
        name = next(self._calling(module), "")
        if name:
            return name, module
        for larger, root in self._modules():
            if any(part is module for part in nn.Module.modules(root)):
                return larger, root
        return type(module).__name__, module

    def _calling(self, thing: object) -> Iterator[str]:
        # Nothing of the user's own runs here, as __class__ or __iter__ of a variable would.
        for name, value in self._variables():
            if value is thing:
                yield name
                continue
            kind = type(value)
            if kind not in (list, tuple, dict) or len(value) > _MOST:
                continue
            entries = value.items() if kind is dict else enumerate(value)
            for key, one in list(entries):
                if one is thing:
                    yield f"{name}[{key!r}]"

    def _modules(self) -> Iterator[tuple[str, nn.Module]]:
        for name, value in self._variables():
            if issubclass(type(value), nn.Module):
                yield name, value

    def _variables(self) -> Iterator[tuple[str, Any]]:
        """All variables in sight, the nearest first."""
        yield from self._given.items()
        if self._look:
            for frame in users_frames():
                yield from _variables_of(frame)


def _variables_of(frame: FrameType) -> Iterator[tuple[str, Any]]:
    """The variables of a call, the attributes of its ``self``, and global ones."""
    own = locals_of(frame)
    self = own.pop("self", None)
    yield from own.items()
    if self is not None:
        yield type(self).__name__, self
        for name, value in list(_attributes(self).items()):
            if name not in _OF_MODULES:
                yield name, value
    yield from list(frame.f_globals.items())


def _attributes(thing: object) -> dict[str, Any]:
    try:
        found = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return found if type(found) is dict else {}


def locals_of(frame: FrameType) -> dict[str, Any]:
    """The variables of a call, none of which lives longer for it."""
    found = frame.f_locals
    own = dict(found)
    # Before Python 3.13 this is a copy that the frame keeps, with all that it holds. It has three
    # references here, unless the program itself has called locals().
    is_copy = frame.f_code.co_flags & inspect.CO_OPTIMIZED and type(found) is dict
    if is_copy and sys.getrefcount(found) <= _OF_NOBODY:
        found.clear()
    return own
