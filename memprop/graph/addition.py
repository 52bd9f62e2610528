"""Sums of two variables: skip connections h = f(x) + x, and gradients that arrive from two sides.

The derivative of a sum passes the gradient on to both operands as it is, so backward reads nothing.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.errors import GraphError
from memprop.graph.rules import ArraySpec, Call, Gradient, Rule, flops_per_element, register


def _same_shape(a: ArraySpec, b: ArraySpec) -> tuple[ArraySpec, ...]:
    if a != b:
        raise GraphError(f"{a} and {b} cannot be added: they must have one shape and dtype")
    return (a,)


def _add(a: np.ndarray, b: np.ndarray, total: np.ndarray) -> Iterator[Call]:
    yield partial(np.add, a, b, total)


register(
    Rule(
        name="add",
        reads=("a", "b"),
        writes=("sum",),
        infer=_same_shape,
        kernel=_add,
        flops=flops_per_element(1),
        in_place=(("sum", "a"), ("sum", "b")),
        gradients=(
            Gradient(of="a", rule=None, reads=("dsum",)),
            Gradient(of="b", rule=None, reads=("dsum",)),
        ),
    ),
)
