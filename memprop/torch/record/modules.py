"""Which module of the user's model runs: module paths, and the stack of calls."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)


class Modules:
    """The paths of a model's modules, and those that run now.

    Hooks are global, not on the modules: a module with hooks of its own may take another path
    (:class:`torch.nn.MultiheadAttention` does).

    Args:
        root: the model.
        loss: a module too, or any function.
        found: called with the path of each further module, which the program holds elsewhere: in a
            plain list, or in the closure of its loss. The path begins with the name of its class.
    """

    def __init__(
        self,
        root: nn.Module,
        loss: object = None,
        found: Callable[[str, nn.Module], None] = lambda *_: None,
    ) -> None:
        self.running: list[str] = []
        self._found = found
        # Weak, for a module that the step makes and drops must die.
        self._paths: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
        self._names: Counter[str] = Counter()
        self._name_all("", root)
        if isinstance(loss, nn.Module):
            self._name_all("loss", loss)

    @property
    def path(self) -> str:
        """The path of the innermost module that runs, as ``layers.0.linear1``; "" for the root."""
        return self.running[-1] if self.running else ""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Follow the calls of modules inside the block."""
        before = register_module_forward_pre_hook(self._enter)
        after = register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()
            self.running.clear()

    def _enter(self, module: nn.Module, _: Any) -> None:
        if module not in self._paths:
            self._add(module)
        self.running.append(self._paths[module])

    def _add(self, module: nn.Module) -> None:
        name = type(module).__name__
        self._names[name] += 1
        path = name if self._names[name] == 1 else f"{name}#{self._names[name]}"
        self._name_all(path, module)
        self._found(path, module)

    def _name_all(self, path: str, module: nn.Module) -> None:
        for inner, part in module.named_modules():
            self._paths.setdefault(part, f"{path}.{inner}".strip("."))

    def _leave(self, module: nn.Module, _: Any, __: Any) -> None:
        # What a recomputation breaks off is left without a call of the hook of each module.
        path = self._paths[module]
        while self.running and self.running.pop() != path:
            pass


def layer_of(path: str) -> int | None:
    """The first number in a module path: 3 for ``encoder.layers.3.linear1``."""
    numbers = re.findall(r"(?:^|\.)(\d+)(?=\.|$)", path)
    return int(numbers[0]) if numbers else None
