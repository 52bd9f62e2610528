"""Counting the steps done, for what depends on their number."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.graph.rules import Call, Rule, constant, no_flops
from memprop.registry import register


def _count(t: np.ndarray, t_next: np.ndarray) -> Iterator[Call]:
    yield partial(np.add, t_next, constant(1, t_next), t_next)


register(
    Rule(
        name="count",
        reads=("t",),
        writes=("t'",),
        infer=lambda t: (t,),
        kernel=_count,
        flops=no_flops,
        updates=(("t'", "t"),),
        example="count",
    )
)
