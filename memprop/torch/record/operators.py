"""Which operator runs: a forward operator in its module, or a node of the backward graph."""

from collections import Counter, defaultdict
from collections.abc import Container
from typing import Any, NamedTuple

import torch
from torch._C._autograd import _get_sequence_nr

from memprop.torch.record.again import number_of_again
from memprop.torch.record.lines import Lines
from memprop.torch.record.modules import Modules, layer_of
from memprop.torch.record.phases import Phases
from memprop.torch.record.unused import UnusedGraphs
from memprop.traces.recorder import Recorder

_Node = tuple[str, int, int]
"""What tells one run of a backward node from the next; the node itself must not be held."""


_NO_TASK = -1
"""PyTorch's number of a backward pass where none runs."""


class _Place(NamedTuple):
    """Where in the user's program a node of the backward graph was made.

    Attributes:
        path: of the module.
        line: of the code; "" where lines are not asked for.
        step: the number of the step.
    """

    path: str = ""
    line: str = ""
    step: int = 0


class Operators:
    """Gives every operator that runs a number in the trace.

    An operator of the forward pass is one call of PyTorch, named after the module that called it:
    ``layers.0.linear1/addmm``. One of the backward pass is a node of autograd's graph with all
    that it calls: ``layers.0.linear1/AddmmBackward0``. One that a checkpoint recomputes keeps its
    number.

    Args:
        recorder: where operators are written down.
        modules: those that run.
        phases: the part of the step that runs.
        lines: finds the line of the user's program that runs.
        unused: told of the nodes that run.
    """

    def __init__(
        self,
        recorder: Recorder,
        modules: Modules,
        phases: Phases,
        lines: Lines,
        unused: UnusedGraphs,
    ) -> None:
        self._recorder = recorder
        self._modules = modules
        self._phases = phases
        self._lines = lines
        self._unused = unused
        self._line: str | None = None
        self._step = 0
        self._parameters: dict[int, str] = {}
        self._place_of_node: dict[int, _Place] = {}
        self._place_of_inner_node: dict[int, _Place] = {}
        self._task_of_last = _NO_TASK
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)
        self._node: _Node | None = None
        self._repeated: Counter[str] = Counter()
        self._current = -1

    def begin_step(self, recorder: Recorder, step: int, alive: Container[int]) -> None:
        """Write into another recorder from now on.

        Args:
            recorder: of the step that begins.
            step: its number.
            alive: the earlier steps of which something lives, so that their graphs may.
        """
        self._recorder, self._step = recorder, step
        self._numbers.clear()
        self._repeated.clear()
        self._node, self._current = None, -1
        for places in (self._place_of_node, self._place_of_inner_node):
            for number in [n for n, place in places.items() if place.step not in alive]:
                del places[number]

    def name_parameter(self, parameter: torch.Tensor, name: str) -> None:
        """Say what a parameter is called, for the node that accumulates its gradient."""
        self._parameters[id(parameter)] = name

    def begin(self) -> None:
        """Another operator runs."""
        self._line = None

    @property
    def line(self) -> str:
        """The line of the user's program that the operator belongs to; "" if nobody asked."""
        if not self._lines.wanted:
            return ""
        if self._line is None:
            is_of_node = self._phases.backward and not self._phases.recomputes
            self._line = self._place_of(_node()).line if is_of_node else self._lines.current()
        return self._line

    def saw(self) -> None:
        """Note the module of the node that autograd made for the operator that runs, if it did.

        Autograd numbers a node just before it calls the operator for which it makes the node. Each
        thread counts by itself, and a backward pass on a GPU has a thread of its own, so nodes
        that are made inside one are kept apart.
        """
        self._task_of_last = torch._C._current_graph_task_id()
        inside = self._task_of_last != _NO_TASK
        places = self._place_of_inner_node if inside else self._place_of_node
        number = _get_sequence_nr() - 1
        if number not in places:
            path = self._path()
            if inside and not path:  # the backward pass makes a graph itself
                path = self._place_of(_node()).path
            places[number] = _Place(path, self.line, self._step)

    def forward(self, func: Any) -> int:
        """The number of an operator outside the backward pass."""
        path = self._path()
        name = _joined(path, _name_of(func))
        number = self._new(name, path)
        self._numbers[name].append(number)
        return number

    def again(self, func: Any) -> int:
        """The number of a forward operator that a backward node recomputes."""
        told = number_of_again(id(self._recorder))
        if told is not None:
            self._enter(_node())
            return told
        self._enter(_node())
        path = self._modules.path
        name = _joined(path, _name_of(func))
        numbers = self._numbers[name]
        place = self._repeated[name]
        self._repeated[name] += 1
        if place < len(numbers):
            return numbers[place]
        numbers.append(self._new(name, path))
        return numbers[-1]

    def backward(self) -> int:
        """The number of the backward node that runs, for all operators that it calls."""
        node = _node()
        if self._enter(node) or self._current < 0:
            name = "seed" if node is None else node.name().rpartition("::")[2]
            path = self._place_of(node).path
            self._current = self._new(_joined(path, name), path)
        return self._current

    def feeds_one_twice(self) -> bool:
        """Whether the node that runs has two gradients for one value, as that of ``x * x``."""
        node = _node()
        edges = [edge for edge in node.next_functions if edge[0] is not None] if node else []
        return len(set(edges)) < len(edges)

    def _enter(self, node: Any) -> bool:
        """Whether another node runs than before."""
        key = _identity(node)
        if key == self._node:
            return False
        self._node, self._current = key, -1
        self._repeated.clear()
        if node is not None:
            self._unused.ran(node._sequence_nr())
        return True

    def _path(self) -> str:
        if path := self._modules.path:
            return path
        part = self._phases.now
        if part == "update":
            return self._phases.updating[-1] if self._phases.updating else "optimizer"
        return "loss" if part == "loss" else ""

    def _place_of(self, node: Any) -> _Place:
        if node is None:
            return _Place()
        if (variable := getattr(node, "variable", None)) is not None:
            return _Place(self._parameters.get(id(variable), ""))
        # A backward pass inside another goes through what was recomputed there.
        nested = self._task_of_last not in (_NO_TASK, torch._C._current_graph_task_id())
        first, second = self._place_of_node, self._place_of_inner_node
        if nested:
            first, second = second, first
        number = node._sequence_nr()
        return first.get(number) or second.get(number) or _Place()

    def _new(self, name: str, path: str) -> int:
        return self._recorder.operator(name, self._phases.name, site=path, layer=layer_of(path))


def _node() -> Any:
    """The node of the backward graph that runs; ``None`` between two nodes, and before them."""
    running = torch._C._current_graph_task_id() != _NO_TASK
    return torch._C._current_autograd_node() if running else None


def _identity(node: Any) -> _Node | None:
    if node is None:
        return None
    return (node.name(), node._sequence_nr(), id(getattr(node, "variable", None)))


def _name_of(func: Any) -> str:
    return func.name().removeprefix("aten::").partition(".")[0]


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
