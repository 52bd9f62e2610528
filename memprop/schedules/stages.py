"""A training step cut into stages: the view that all strategies of recomputation share.

The forward pass is cut where a single variable carries everything that later operators need, if
backward reads that variable (otherwise keeping it would serve nothing) and its gradient is the
single thing that goes the other way. Skip connections, norms and whatever else lies between two
cuts are inside a stage, so the graph of a stage may have any form.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from memprop.graph.graph import Graph, Operator


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A part of the forward pass with the part of the backward pass that belongs to it.

    Attributes:
        input: the variable it begins from.
        output: the variable it hands on; in the last stage, which has the loss, the objective.
        forward: its operators, in order.
        backward: the operators between the gradient of its output and that of its input.
    """

    input: str
    output: str
    forward: tuple[Operator, ...]
    backward: tuple[Operator, ...]

    @property
    def layer(self) -> int | None:
        """The layer that its first operator belongs to."""
        return self.forward[0].layer


@lru_cache(maxsize=4)
def stages(graph: Graph) -> tuple[Stage, ...]:
    """The finest cut of the training step ``graph`` into stages, first to last.

    Concatenated, the forward operators first to last and the backward operators last to first are
    the operators of ``graph`` in their order.
    """
    begin = next((i for i, op in enumerate(graph.operators) if op.phase == "backward"), None)
    if begin is None:
        return ()
    forward, backward = graph.operators[:begin], graph.operators[begin:]
    written = {name: place for place, op in enumerate(backward) for name in op.outputs}
    read = {name for operator in backward for name in operator.inputs}
    cuts = [(0, len(backward), _first_input(graph))]
    for place, name in _single_carriers(graph, forward):
        gradient = written.get(f"d{name}", len(backward)) + 1
        if name in read and gradient < cuts[-1][1]:
            cuts.append((place, gradient, name))
    ends = [*cuts[1:], (len(forward), 0, graph.objective or "")]
    return tuple(
        Stage(
            input=name,
            output=output,
            forward=forward[start:stop],
            backward=backward[first:last],
        )
        for (start, last, name), (stop, first, output) in zip(cuts, ends, strict=True)
    )


@lru_cache(maxsize=4)
def layers(graph: Graph) -> tuple[Stage, ...]:
    """The stages of ``graph``, those of one layer taken together."""
    found = stages(graph)
    grouped = groupby(
        range(len(found)), key=lambda i: i if found[i].layer is None else (found[i].layer,)
    )
    return tuple(joined([found[i] for i in places]) for _, places in grouped)


def in_sequence(parts: Sequence[Stage]) -> tuple[Operator, ...]:
    """All forward operators of ``parts``, first to last, and all of backward, last to first."""
    forward = (operator for part in parts for operator in part.forward)
    backward = (operator for part in reversed(parts) for operator in part.backward)
    return (*forward, *backward)


def joined(parts: Sequence[Stage]) -> Stage:
    """Consecutive stages as one."""
    return Stage(
        input=parts[0].input,
        output=parts[-1].output,
        forward=tuple(op for part in parts for op in part.forward),
        backward=tuple(op for part in reversed(parts) for op in part.backward),
    )


def _first_input(graph: Graph) -> str:
    """The variable that the first operator reads as data."""
    reads = graph.operators[0].inputs
    return next((name for name in reads if graph.by_name[name].category == "input"), reads[0])


def _single_carriers(graph: Graph, forward: Sequence[Operator]) -> Iterator[tuple[int, str]]:
    """Places in ``forward`` which one variable alone crosses, with that variable.

    What the loss alone reads of the inputs, the labels, is there all the time and carries nothing.
    """
    last_read = {name: place for place, op in enumerate(forward) for name in op.inputs}
    carried = {
        name
        for operator in forward
        if operator.phase == "forward"
        for name in operator.inputs
        if graph.by_name[name].category == "input"
    }
    crossing: set[str] = set(carried)
    for place, operator in enumerate(forward[:-1]):
        if operator.phase != "forward":
            return
        crossing.update(operator.outputs)
        crossing = {name for name in crossing if last_read.get(name, -1) > place}
        if len(crossing) == 1:
            yield place + 1, next(iter(crossing))
