"""Which module of the user's model runs: module paths, and the stack of calls."""

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.loss import _Loss
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils.weak import WeakIdKeyDictionary

from memprop.torch.record.names import Names
from memprop.torch.record.ours import Ours
from memprop.torch.record.unused import UnusedGraphs


class Modules:
    """The paths of modules, and those that run now.

    Hooks are global, not on the modules: a module with hooks of its own may take another path
    (:class:`torch.nn.MultiheadAttention` does).

    Args:
        found: called with the path of each module that nobody introduced, when it is called: all of
            a program, or what it holds in a plain list, or in the closure of its loss. The path
            begins with the name of a variable or of a class.
        names: finds that name.
        unused: told of the modules that the program calls itself.
        ours: tells whether what runs is recorded.
    """

    def __init__(
        self,
        found: Callable[[str, nn.Module], None],
        names: Names,
        unused: UnusedGraphs,
        ours: Ours,
    ) -> None:
        self.roots: list[str] = []
        """The names of the modules that were found, in order."""
        self.compiled = False
        """Whether one was called that torch.compile had compiled."""
        self._found = found
        self._names = names
        self._unused = unused
        self._ours = ours
        # Weak, for a module that the step makes and drops must die.
        self._paths = WeakIdKeyDictionary()
        # A backward pass on a GPU has a thread of its own, in which checkpoints call modules.
        self._stacks: defaultdict[int, list[nn.Module]] = defaultdict(list)

    def add(self, path: str, root: nn.Module) -> None:
        """Introduce a module, and all modules in it."""
        for inner, part in root.named_modules():
            if part not in self._paths:
                self._paths[part] = f"{path}.{inner}".strip(".")

    @property
    def running(self) -> list[nn.Module]:
        """The modules that run in this thread, the outermost first."""
        return self._stacks[threading.get_ident()]

    @property
    def path(self) -> str:
        """The path of the innermost module that runs, as ``layers.0.linear1``; "" for the root."""
        running = self.running
        return self._paths[running[-1]] if running else ""

    @property
    def is_loss(self) -> bool:
        """Whether a loss of PyTorch's was called, and by no other module."""
        return isinstance(self.running[0], _Loss)

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
            self._stacks.clear()
            self._paths.clear()

    def _enter(self, module: nn.Module, _: Any) -> None:
        if not self._ours():
            return
        self.compiled |= type(module).__name__ == "OptimizedModule"
        if module not in self._paths:
            self._find(module)
        running = self.running
        if not running:
            self._unused.enter(self._paths[module])
        running.append(module)

    def _find(self, module: nn.Module) -> None:
        name, root = self._names.root_of(module)
        name = self._free(name)
        self.roots.append(name)
        self.add(name, root)
        self._found(name, root)

    def _free(self, name: str) -> str:
        """The name, with a number if another module that is there is called so."""
        taken = set(self._paths.values())
        if name not in taken:
            return name
        return next(
            free for at in range(2, len(taken) + 3) if (free := f"{name}#{at}") not in taken
        )

    def _leave(self, module: nn.Module, _: Any, output: Any) -> None:
        if not self._ours():
            return
        # What a recomputation breaks off is left without a call of the hook of each module.
        running = self.running
        while running and running.pop() is not module:
            pass
        if not running:
            self._unused.leave(output)


def layer_of(path: str) -> int | None:
    """The first number in a module path: 3 for ``encoder.layers.3.linear1``."""
    numbers = re.findall(r"(?:^|\.)(\d+)(?=\.|$)", path)
    return int(numbers[0]) if numbers else None
