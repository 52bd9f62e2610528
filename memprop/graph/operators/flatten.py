"""Samples of any shape as vectors: (batch, ...) to (batch, units).

Where the operand dies, its buffer is taken over as it is; otherwise it is copied.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from memprop.errors import GraphError
from memprop.graph.affine import BATCH, elements
from memprop.graph.layers import Layer
from memprop.graph.rules import ArraySpec, Call, Gradient, Rule, no_flops
from memprop.registry import register

if TYPE_CHECKING:
    from memprop.graph.build import NetworkBuilder
    from memprop.graph.nodes import Variable

Array = np.ndarray


@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """Makes a vector of each sample: (batch, ...) to (batch, units)."""

    def apply(self, net: "NetworkBuilder", x: "Variable") -> "Variable":
        """Add f, x with its extents but the first as one, to ``net``."""
        return net.result("flatten", [x], "f", shape=x.shape[1:])


def _flat(x: ArraySpec, *, shape: tuple[int, ...]) -> tuple[ArraySpec, ...]:
    if x.shape != (BATCH, *shape):
        raise GraphError(f"flatten was made for samples of shape {shape}, got {x.shape}")
    return (ArraySpec((BATCH, elements(x.shape).per_sample), x.dtype),)


def _whole(df: ArraySpec, *, shape: tuple[int, ...]) -> tuple[ArraySpec, ...]:
    return (ArraySpec((BATCH, *shape), df.dtype),)


def _copy(given: Array, made: Array, *, shape: tuple[int, ...]) -> Iterator[Call]:
    if not np.shares_memory(given, made):
        yield partial(np.copyto, made, given.reshape(made.shape))


_CASES = ({"shape": (2, 3, 4)},)

register(
    Rule(
        name="flatten",
        reads=("x",),
        writes=("f",),
        infer=_flat,
        kernel=_copy,
        flops=no_flops,
        in_place=(("f", "x"),),
        gradients=(Gradient(of="x", rule="unflatten", reads=("df",)),),
        example="n,2,3,4",
        constants=_CASES,
    ),
    Rule(
        name="unflatten",
        reads=("df",),
        writes=("dx",),
        infer=_whole,
        kernel=_copy,
        flops=no_flops,
        in_place=(("dx", "df"),),
        example="n,24",
        constants=_CASES,
    ),
)
