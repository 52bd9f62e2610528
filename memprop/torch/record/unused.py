"""Graphs made for a backward pass which never came, as in an evaluation with gradients."""

import weakref
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._C._autograd import _get_sequence_nr

from memprop.torch.record.lines import Lines
from memprop.torch.record.schema import tensors


@dataclass
class _Call:
    """A call of a module by the program itself, with gradients.

    Attributes:
        name: of the module.
        line: of the program.
        begin: the number of the first node of its graph.
        end: the number after its last.
        nodes: live as long as those from which its graph would be run.
        used: whether a backward pass went through the graph.
    """

    name: str
    line: str
    begin: int
    end: int = 0
    nodes: list["weakref.ref[_Alive]"] = field(default_factory=list)
    used: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is left from which its graph could be run."""
        return all(node() is None for node in self.nodes)


class _Alive:
    """Put into the metadata of a node, it lives as long as the node."""


class UnusedGraphs:
    """Finds calls of modules whose graph no backward pass used before the program dropped it.

    Args:
        lines: finds the line of the program.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._calls: list[_Call] = []
        self._open: _Call | None = None

    def enter(self, name: str) -> None:
        """The program calls a module."""
        if torch._C._current_graph_task_id() != -1:  # a checkpoint runs it again
            return
        line = self._lines.current() if self._lines.wanted else ""
        self._open = _Call(name, line, _get_sequence_nr()) if torch.is_grad_enabled() else None

    def leave(self, output: Any) -> None:
        """The module returns."""
        call, self._open = self._open, None
        if call is None:
            return
        call.end = _get_sequence_nr()
        nodes = [tensor.grad_fn for tensor in tensors(output) if tensor.grad_fn is not None]
        for node in nodes:
            metadata: Any = node.metadata
            alive = metadata.setdefault("memprop", _Alive())
            call.nodes.append(weakref.ref(alive))
        if nodes:
            self._calls.append(call)

    def ran(self, node: int) -> None:
        """A backward pass runs the node of this number."""
        at = bisect_right(self._calls, node, key=lambda call: call.begin) - 1
        if at >= 0 and node < self._calls[at].end:
            self._calls[at].used = True

    def found(self) -> Iterable[tuple[str, str]]:
        """Name and line of the calls that are known to be unused by now."""
        over = [call for call in self._calls if call.is_over]
        self._calls = [call for call in self._calls if not (call.used or call.is_over)]
        return dict.fromkeys((call.name, call.line) for call in over if not call.used)
