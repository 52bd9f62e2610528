"""Which module of the user's model runs: module paths, and the stack of calls."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)


class Modules:
    """The paths of a model's modules, and those that run now.

    Hooks are global, not on the modules: a module with hooks of its own may take another path
    (:class:`torch.nn.MultiheadAttention` does).
    """

    def __init__(self, root: nn.Module, loss: object = None) -> None:
        self.root = root
        self.running: list[str] = []
        self._paths = {module: path for path, module in root.named_modules()}
        if isinstance(loss, nn.Module):
            self._paths |= {
                module: f"loss.{path}".rstrip(".") for path, module in loss.named_modules()
            }

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
        self.running.append(self._paths.get(module, type(module).__name__))

    def _leave(self, module: nn.Module, _: Any, __: Any) -> None:
        # What a recomputation breaks off is left without a call of the hook of each module.
        path = self._paths.get(module, type(module).__name__)
        while self.running and self.running.pop() != path:
            pass


def layer_of(path: str) -> int | None:
    """The first number in a module path: 3 for ``encoder.layers.3.linear1``."""
    numbers = re.findall(r"(?:^|\.)(\d+)(?=\.|$)", path)
    return int(numbers[0]) if numbers else None
