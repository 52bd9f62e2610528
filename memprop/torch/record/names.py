"""What the user's program calls its modules, optimizers and tensors."""

import inspect
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, Final

from torch import nn

from memprop.torch.record.lines import users_frames

_OF_MODULES: Final = ("_modules", "_parameters", "_buffers")
"""Where a module keeps its parts: what lives in them is called after the module itself."""


_MOST: Final = 1000
"""Containers with more entries are not looked through."""


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
            if any(part is module for part in root.modules()):
                return larger, root
        return type(module).__name__, module

    def _calling(self, thing: object) -> Iterator[str]:
        for name, value in self._variables():
            if value is thing:
                yield name
            elif not isinstance(value, list | tuple | dict) or len(value) > _MOST:
                continue
            elif isinstance(value, list | tuple):
                yield from (f"{name}[{at}]" for at, one in enumerate(value) if one is thing)
            else:
                yield from (f"{name}[{key!r}]" for key, one in list(value.items()) if one is thing)

    def _modules(self) -> Iterator[tuple[str, nn.Module]]:
        for name, value in self._variables():
            if isinstance(value, nn.Module):
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
        for name, value in list(getattr(self, "__dict__", {}).items()):
            if name not in _OF_MODULES:
                yield name, value
    yield from list(frame.f_globals.items())


def locals_of(frame: FrameType) -> dict[str, Any]:
    """The variables of a call, none of which lives longer for it."""
    found = frame.f_locals
    own = dict(found)
    # Before Python 3.13 this is a copy that the frame keeps, with all that it holds.
    if frame.f_code.co_flags & inspect.CO_OPTIMIZED and isinstance(found, dict):
        found.clear()
    return own
