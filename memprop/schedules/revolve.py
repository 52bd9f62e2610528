"""Binomial checkpointing: c states are stored, everything else is advanced again.

Griewank & Walther, "Algorithm 799: revolve", ACM TOMS 26 (2000). A state is the input of a layer;
that of the first layer is one of the c. Each layer is run once more, with all that backward reads,
just before its backward. The forward steps beyond the first pass are then at least

    T(n, s) = r n - C(s + r, s + 1),  r the least with C(s + r, s) >= n

for n layers and s states (their equation 3), which the order made here attains.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from memprop.errors import InvalidValueError
from memprop.graph.graph import Graph, Operator
from memprop.schedules.stages import Stage, layers
from memprop.schedules.strategies import Strategy


def revolve(graph: Graph, slots: int) -> tuple[Operator, ...]:
    """The order of the training step ``graph`` with ``slots`` stored states.

    Raises:
        InvalidValueError: there are fewer layers than slots.
    """
    found = layers(graph)
    if slots > max(len(found), 1):
        raise InvalidValueError(
            f"revolve:{slots} has more slots than the network has layers: "
            f"choose at most revolve:{len(found)}"
        )
    return tuple(_reverse(found, slots))


@cache
def extra_steps(n: int, s: int) -> int:
    """T(n, s): the least number of forward steps beyond one for each of ``n`` layers.

    Args:
        n: layers, at least 1.
        s: stored states, at least 1; more than n - 1 are of no use.
    """
    s = min(s, n - 1)
    if n == 1:
        return 0
    r = 1
    while math.comb(s + r, s) < n:
        r += 1
    return r * n - math.comb(s + r, s + 1)


def _reverse(parts: Sequence[Stage], slots: int) -> Iterator[Operator]:
    """Run ``parts`` forward and back; the input of the first is stored in one of ``slots``."""
    pending = [(0, len(parts), slots)]
    while pending:
        first, end, slots = pending.pop()
        if end - first == 1:
            yield from parts[first].forward
            yield from parts[first].backward
            continue
        middle = first + _advance(end - first, slots)
        for part in parts[first:middle]:
            yield from part.forward
        # The last to be pushed comes first: the part behind the new state is reversed now.
        pending.append((first, middle, slots))
        pending.append((middle, end, max(slots - 1, 1)))


@cache
def _advance(n: int, s: int) -> int:
    """How many layers to run before the next state is stored, for the least total."""
    if s == 1:
        return n - 1
    return min(range(1, n), key=lambda k: k + extra_steps(n - k, s - 1) + extra_steps(k, s))


REVOLVE: Final = Strategy(name="revolve", order=revolve, number="c", counts="stored states")
