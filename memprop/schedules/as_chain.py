"""The planner's view of a training step: a chain of stages, measured on the graph itself.

Every figure is read off the live bytes of real schedules, in-place results and workspace included.
The stages run one after the other, forward and then backward. The bytes that a stage saves are the
rise in live bytes over its forward; the workspace is what its kernels need on top. The gradients of
parameters are what its backward leaves behind. Parameters, optimizer state and labels, which are
live throughout, are given apart.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

import numpy as np

from memprop.graph.graph import Graph, Operator
from memprop.schedules.actions import Compute
from memprop.schedules.chain import Chain
from memprop.schedules.live import live_bytes
from memprop.schedules.measured import Part, measured_chain
from memprop.schedules.order import in_order
from memprop.schedules.selective import thrifty
from memprop.schedules.stages import Stage, in_sequence, joined, stages

_LONGEST: Final = 128
"""Stages of a chain: planning takes time that grows with the cube of their number.

Twice as many make plans better by less than 0.01 % (``experiments/benchmarks/planner.py``)."""


@dataclass(frozen=True, slots=True)
class GraphChain:
    """A training step as a chain.

    Attributes:
        stages: the parts of the step, in order.
        chain: their costs in FLOPs and their sizes in bytes.
        fixed_bytes: bytes that are live all the time and are not in the chain's own figures.
    """

    stages: tuple[Stage, ...]
    chain: Chain
    fixed_bytes: int


def chains(graph: Graph, batch: int) -> tuple[GraphChain, ...]:
    """The training step ``graph`` as a chain for one batch size, in each way that it can be seen.

    The stages keep all that their backward reads; or, if that is another thing, what is dear to
    compute alone. Neighbouring stages are taken together where there would be more than 128.
    """
    views = dict.fromkeys((stages(graph), thrifty(graph)))
    return tuple(as_chain(graph, batch, parts) for parts in views)


@lru_cache(maxsize=8)
def as_chain(graph: Graph, batch: int, whole: tuple[Stage, ...]) -> GraphChain:
    """The chain of the stages ``whole``, of which the training step ``graph`` consists."""
    parts = _at_most(whole, _LONGEST)
    size = graph.bytes_at(batch)
    inputs = [size[part.input] for part in parts]
    outputs = [size[part.output] for part in parts]
    fixed = sum(size[v.name] for v in graph.sources) - inputs[0]
    lengths = [len(part.forward) for part in parts] + [len(part.backward) for part in parts[::-1]]
    account = _account(graph, batch, in_sequence(parts), lengths)
    forward, backward = account[: len(parts)], account[: len(parts) - 1 : -1]
    chain = measured_chain(
        forward,
        backward,
        inputs=inputs,
        output=outputs[-1],
        forward_workspace=[_forward_workspace(graph, part, batch) for part in parts],
        forward_cost=[_flops(graph, part.forward, batch) for part in parts],
        backward_cost=[_flops(graph, part.backward, batch) for part in parts],
    )
    return GraphChain(parts, chain, fixed)


def _at_most(parts: Sequence[Stage], longest: int) -> tuple[Stage, ...]:
    """``parts``, neighbours joined evenly so that there are at most ``longest``."""
    count = min(len(parts), longest)
    bounds = [len(parts) * place // count for place in range(count + 1)]
    return tuple(joined(parts[i:j]) for i, j in pairwise(bounds))


def _flops(graph: Graph, operators: Iterable[Operator], batch: int) -> int:
    return sum(graph.flops(operator).at(batch) for operator in operators)


def _forward_workspace(graph: Graph, part: Stage, batch: int) -> int:
    """Bytes that a forward of ``part`` that saves nothing needs beyond its input and output."""
    actions = in_order(graph, part.forward, kept=(part.input, part.output))
    begin = sum(v.nbytes.at(batch) for v in graph.sources)
    peak = live_bytes(graph, actions, batch).peak - begin
    return max(peak - graph.by_name[part.output].nbytes.at(batch), 0)


def _account(
    graph: Graph, batch: int, order: Sequence[Operator], lengths: Sequence[int]
) -> list[Part]:
    """The operators of ``order`` in consecutive parts of these lengths."""
    actions = in_order(graph, order)
    live = live_bytes(graph, actions, batch)
    computes = [place for place, action in enumerate(actions) if isinstance(action, Compute)]
    begins = [computes[place] for place in accumulate([0, *lengths[:-1]])]
    ends = [*begins[1:], len(actions)]
    before = [sum(v.nbytes.at(batch) for v in graph.sources), *live.after[np.array(ends[:-1]) - 1]]
    return [
        Part(int(under), int(live.during[begin:end].max()), int(live.after[end - 1]))
        for under, begin, end in zip(before, begins, ends, strict=True)
    ]
