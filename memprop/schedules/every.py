"""Segments of layers: keep the input of each, compute the rest again before backward needs it.

``every:k`` makes segments of k layers. ``sqrt`` takes k = ceil(sqrt(n)) for n layers, so that
about sqrt(n) inputs and the sqrt(n) layers of one segment are kept at a time, for at most one extra
forward pass (Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from memprop.graph.graph import Graph, Operator
from memprop.schedules.stages import Stage, joined, layers
from memprop.schedules.strategies import Strategy


def every(graph: Graph, k: int) -> tuple[Operator, ...]:
    """The order of the training step ``graph`` in segments of ``k`` layers."""
    return _segmented(layers(graph), k)


def sqrt(graph: Graph) -> tuple[Operator, ...]:
    """The order in segments of ceil(sqrt(n)) of the n layers of ``graph``."""
    found = layers(graph)
    return _segmented(found, _ceil_sqrt(len(found)))


def _ceil_sqrt(n: int) -> int:
    return math.isqrt(n - 1) + 1 if n > 0 else 1


def _segmented(parts: Sequence[Stage], k: int) -> tuple[Operator, ...]:
    segments = [joined(parts[i : i + k]) for i in range(0, len(parts), k)]
    return tuple(_order(segments))


def _order(segments: Sequence[Stage]) -> Iterator[Operator]:
    for segment in segments:
        yield from segment.forward
    for segment in reversed(segments):
        if segment is not segments[-1]:
            yield from _what_backward_needs(segment)
        yield from segment.backward


def _what_backward_needs(segment: Stage) -> list[Operator]:
    """The forward operators of ``segment`` that must run again, given its input and its output.

    The output is there still: the segment behind this one has just read it.
    """
    needed = {name for operator in segment.backward for name in operator.inputs}
    needed.discard(segment.output)
    again = []
    for operator in reversed(segment.forward):
        if not needed.isdisjoint(operator.outputs):
            needed.update(operator.inputs)
            needed.discard(segment.output)
            again.append(operator)
    return again[::-1]


SQRT: Final = Strategy(name="sqrt", order=sqrt)

EVERY: Final = Strategy(name="every", order=every, number="k", counts="layers in a segment")
