"""The backward passes of a program: when one begins, from where, and whether it makes a graph."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


class Backwards:
    """Follows calls of :func:`torch.autograd.backward` and :func:`torch.autograd.grad`.

    PyTorch has no hook for the beginning of a backward pass, so inside :meth:`watched` the two
    functions that every such call goes through are replaced.

    Args:
        began: called with the tensors from which a pass starts, before it does. A pass within
            another, as a checkpoint that reenters autograd has, is a part of that.

    Attributes:
        count: passes so far, the one that runs included.
    """

    def __init__(self, began: Callable[[Sequence[torch.Tensor]], None]) -> None:
        self.count = 0
        self._began = began
        self._opened = False
        self._graphs: list[bool] = []

    @property
    def running(self) -> bool:
        """Whether a pass runs, or its first gradient is being made."""
        return self._opened or bool(self._graphs)

    @property
    def makes_graph(self) -> bool:
        """Whether the pass that runs can be differentiated itself (``create_graph=True``)."""
        return bool(self._graphs) and self._graphs[-1]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Follow the calls of this thread inside the block."""
        autograd: Any = torch.autograd
        make_grads, run = autograd._make_grads, autograd._engine_run_backward
        owner = threading.get_ident()

        def is_ours() -> bool:
            return threading.get_ident() == owner or bool(self._graphs)

        def making(*args: Any, **kwargs: Any) -> Any:
            if is_ours():
                self._open()
            return make_grads(*args, **kwargs)

        def running(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            if not is_ours():
                return run(outputs, *args, **kwargs)
            with self._pass(outputs, _creates_graph(args, kwargs)):
                return run(outputs, *args, **kwargs)

        autograd._make_grads, autograd._engine_run_backward = making, running
        try:
            yield
        finally:
            autograd._make_grads, autograd._engine_run_backward = make_grads, run
            self._opened = False
            self._graphs.clear()

    def _open(self) -> None:
        if not self.running:
            self._opened = True
            self.count += 1

    @contextmanager
    def _pass(self, outputs: Sequence[Any], creates_graph: bool) -> Iterator[None]:
        self._open()
        if not self._graphs:
            self._began([one for one in outputs if isinstance(one, torch.Tensor)])
        self._graphs.append(creates_graph)
        try:
            yield
        finally:
            if self._graphs:
                self._graphs.pop()
            self._opened = bool(self._graphs)


def _creates_graph(args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """The argument ``create_graph`` of the engine: gradients and ``keep_graph`` come before it."""
    return bool(kwargs.get("create_graph", args[2] if len(args) > 2 else False))
