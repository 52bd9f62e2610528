"""``selective``: keep what is expensive to compute, recompute what is cheap.

A matrix product takes two FLOPs an element for every unit of the layer before; norms, activations,
dropout and sums take a handful. So a layer that keeps the results of its products alone, and has
the rest computed again just before its backward, gives up little time for much memory (Korthikanti
et al., "Reducing activation recomputation in large transformer models", 2022, section 5).
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from memprop.graph.affine import elements
from memprop.graph.graph import Graph, Operator
from memprop.schedules.stages import Stage, in_sequence, joined, stages
from memprop.schedules.strategies import Strategy

_CHEAP: Final = 32
"""FLOPs an element of the result, at most. Norms take 7; products twice the width before them."""


def selective(graph: Graph) -> tuple[Operator, ...]:
    """The order of the training step ``graph`` that computes cheap operators again."""
    return in_sequence(thrifty(graph))


def thrifty(graph: Graph) -> tuple[Stage, ...]:
    """The stages of ``graph``, where it saves memory with cheap operators again in backward.

    What is cheap alone goes with the product behind it, which reads it: so the result of the
    product before is all that is kept of both.
    """
    parts, waiting = [], []
    for part in stages(graph):
        waiting.append(part)
        if not all(_is_cheap(graph, operator) for operator in part.forward):
            parts.append(_thrifty(graph, joined(waiting)))
            waiting = []
    return (*parts, *waiting)


def _thrifty(graph: Graph, part: Stage) -> Stage:
    again = _cheap_again(graph, part)
    saves = _kept(graph, part, again) < _kept(graph, part, ())
    return replace(part, backward=(*again, *part.backward)) if saves else part


def _cheap_again(graph: Graph, part: Stage) -> tuple[Operator, ...]:
    """The cheap forward operators that backward needs the results of, in order.

    The output of the stage is there still: the stage behind has just read it.
    """
    needed = {name for operator in part.backward for name in operator.inputs} - {part.output}
    again = []
    for operator in reversed(part.forward):
        if not needed.isdisjoint(operator.outputs) and _is_cheap(graph, operator):
            needed.update(set(operator.inputs) - {part.output})
            again.append(operator)
    return tuple(again[::-1])


def _is_cheap(graph: Graph, operator: Operator) -> bool:
    made = elements(graph.by_name[operator.outputs[0]].shape).per_sample
    return operator.phase == "forward" and graph.flops(operator).per_sample <= _CHEAP * made


def _kept(graph: Graph, part: Stage, again: Iterable[Operator]) -> int:
    """Bytes a sample kept between forward and backward, in addition to input and output."""
    again = tuple(again)
    made = {name for operator in part.forward for name in operator.outputs}
    made -= {name for operator in again for name in operator.outputs}
    read = {name for operator in (*again, *part.backward) for name in operator.inputs}
    return sum(graph.by_name[name].nbytes.per_sample for name in made & read - {part.output})


SELECTIVE: Final = Strategy(name="selective", order=selective)
