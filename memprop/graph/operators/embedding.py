"""Embeddings: a learned vector for each of a number of integers, as tokens are.

Backward adds up the gradients of all places at which an integer stands.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from memprop.checks import Count, option
from memprop.errors import GraphError
from memprop.graph.affine import BATCH, elements
from memprop.graph.initial import normal
from memprop.graph.layers import Layer
from memprop.graph.rules import ArraySpec, Call, Gradient, Rule, no_flops
from memprop.registry import register

if TYPE_CHECKING:
    from memprop.graph.build import NetworkBuilder
    from memprop.graph.nodes import Variable

Array = np.ndarray


@dataclass(frozen=True, repr=False)
class Embedding(Layer):
    """A vector for each integer: (batch, ...) of integers to (batch, ..., width).

    It can only be the first layer. The vectors are drawn from the standard normal distribution, as
    in PyTorch.

    Attributes:
        size: how many integers there are; the samples hold 0 to ``size - 1``.
        width: the length of a vector.
    """

    size: int = option(check=Count())
    width: int = option(check=Count())

    begins_layer: ClassVar[bool] = True
    input_dtype: ClassVar[str | None] = "int64"

    def apply(self, net: "NetworkBuilder", x: "Variable") -> "Variable":
        """Add e, the vectors of the integers in x, to ``net``."""
        W = net.parameter("W", (self.size, self.width), normal(1.0), decays=True)
        return net.result("embedding", [x, W], "e", size=self.size)


def _shape(ids: ArraySpec, W: ArraySpec, *, size: int) -> tuple[ArraySpec, ...]:
    if ids.dtype != "int64" or ids.shape[0] != BATCH:
        raise GraphError(f"an embedding takes int64 of shape (batch, ...), got {ids}")
    if len(W.shape) != 2 or W.shape[0] != size:
        raise GraphError(f"an embedding of {size} integers cannot have weights of {W.shape}")
    return (ArraySpec((*ids.shape, W.shape[1]), W.dtype),)


def _embedding(ids: Array, W: Array, e: Array, *, size: int) -> Iterator[Call]:
    # "clip" because NumPy buffers the output under the default mode; the integers are in range.
    yield partial(W.take, ids, 0, e, "clip")


def _backward(de: Array, ids: Array, dW: Array, *, size: int) -> Iterator[Call]:
    yield partial(dW.fill, 0)
    yield partial(np.add.at, dW, ids, de)


_CASES = ({"size": 5},)

register(
    Rule(
        name="embedding",
        reads=("ids", "W"),
        writes=("e",),
        infer=_shape,
        kernel=_embedding,
        flops=no_flops,
        gradients=(Gradient(of="W", rule="embedding_backward", reads=("de", "ids")),),
        below={"ids": ("W", 0)},
        symbol="E",
        example="ids 5,d",
        constants=_CASES,
    ),
    Rule(
        name="embedding_backward",
        reads=("de", "ids"),
        writes=("dW",),
        infer=lambda de, _, *, size: (ArraySpec((size, de.shape[-1]), de.dtype),),
        kernel=_backward,
        flops=lambda de, *_, **__: elements(de.shape),
        symbol="E′",
        example="n,3,d ids",
        constants=_CASES,
    ),
)
