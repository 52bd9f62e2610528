"""From a graph to its picture: a square for each variable, a circle for each operator."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from memprop.graph.nodes import Operator, Variable
from memprop.graph.picture.labels import symbol, titles, written_shape
from memprop.graph.picture.picture import (
    BACKWARD,
    FORWARD,
    OPERATOR,
    REUSE,
    VARIABLE,
    Edge,
    Node,
    Picture,
    key_of,
)
from memprop.units import format_bytes

if TYPE_CHECKING:
    from memprop.graph.graph import Graph

_FORWARD_PHASES: Final = ("forward", "loss")


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What a schedule does with a graph, by name.

    Attributes:
        runs: how often each operator is computed.
        cached: the cached intermediates: alive when backward begins because it reads them.
    """

    runs: Mapping[str, int] = field(default_factory=dict)
    cached: frozenset[str] = frozenset()


def cacheable(graph: "Graph") -> frozenset[str]:
    """What would be a cached intermediate if backward read it.

    These are the results of the forward pass, and the inputs that the forward pass itself reads:
    the samples, not the labels.
    """
    forward = [op for op in graph.operators if op.phase in _FORWARD_PHASES]
    made = {name for op in forward for name in op.outputs}
    inputs = {v.name for v in graph.sources if v.category == "input"}
    return frozenset(
        made | {n for op in forward if op.phase == "forward" for n in op.inputs if n in inputs}
    )


def reuses(graph: "Graph") -> Iterator[tuple[str, str]]:
    """Cached intermediate and backward operator, for each that one reads of the other."""
    intermediate = cacheable(graph)
    for operator in graph.operators:
        if operator.phase == "backward":
            yield from ((n, operator.name) for n in operator.inputs if n in intermediate)


def picture_of(
    graph: "Graph", *, batch: int, backward: bool, marks: Marks | None = None, caption: str = ""
) -> Picture:
    """The picture of ``graph``, nothing folded.

    Scratch of kernels is left out, and so is what an optimizer does.

    Args:
        graph: with a backward pass where ``backward`` is to be drawn.
        batch: samples, for shapes and bytes.
        backward: whether the backward pass is drawn.
        marks: what a schedule does; ``None`` where nothing is computed twice and what backward
            reads is cached.
        caption: the title; the batch size is added to it.
    """
    phases = (*_FORWARD_PHASES, "backward") if backward else _FORWARD_PHASES
    operators = [op for op in graph.operators if op.phase in phases]
    known = marks or Marks(cached=frozenset(name for name, _ in reuses(graph)))
    return Picture(
        nodes=(
            *_variables(graph, operators, known, batch),
            *(_operator(operator, known) for operator in operators),
        ),
        edges=tuple(_edges(operators, frozenset(reuses(graph)))),
        batch=batch,
        caption=", ".join(filter(None, (caption, f"batch {batch}"))),
    )


def _variables(
    graph: "Graph", operators: Iterable[Operator], marks: Marks, batch: int
) -> Iterator[Node]:
    maker = {name: op for op in operators for name in op.outputs}
    drawn = {name for op in operators for name in op.inputs + op.outputs}
    written = titles(graph.variables, graph.objective)
    for variable in graph.variables:
        if variable.name in drawn:
            yield _variable(variable, maker.get(variable.name), written, marks, batch)


def _variable(
    variable: Variable,
    maker: Operator | None,
    written: Mapping[str, str],
    marks: Marks,
    batch: int,
) -> Node:
    shape, size = variable.shape_at(batch), variable.nbytes.at(batch)
    return Node(
        key=key_of(VARIABLE, variable.name),
        kind=VARIABLE,
        name=variable.name,
        title=written[variable.name],
        lines=(written_shape(shape), format_bytes(size)),
        bytes=size,
        shape=shape,
        dtype=variable.dtype,
        phase=maker.phase if maker else "forward",
        layer=variable.layer,
        alike=(variable.category, shape, variable.dtype),
        runs=marks.runs.get(maker.name, 1) if maker else 1,
        cached=variable.name in marks.cached,
    )


def _operator(operator: Operator, marks: Marks) -> Node:
    return Node(
        key=key_of(OPERATOR, operator.name),
        kind=OPERATOR,
        name=operator.name,
        title=symbol(operator.rule),
        lines=(operator.name,),
        phase=operator.phase,
        layer=operator.layer,
        alike=(operator.rule,),
        runs=marks.runs.get(operator.name, 1),
    )


def _edges(operators: Iterable[Operator], reused: frozenset[tuple[str, str]]) -> Iterator[Edge]:
    for operator in operators:
        here = key_of(OPERATOR, operator.name)
        flow = BACKWARD if operator.phase == "backward" else FORWARD
        for name in dict.fromkeys(operator.inputs):
            kind = REUSE if (name, operator.name) in reused else flow
            yield Edge(source=key_of(VARIABLE, name), target=here, kind=kind)
        for name in operator.outputs:
            yield Edge(source=here, target=key_of(VARIABLE, name), kind=flow)
