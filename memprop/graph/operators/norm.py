"""Layer normalisation n = gamma (z - mean) / sqrt(variance + eps) + beta (Ba et al. 2016).

Mean and variance are those of a sample's own units, along the last axis, so nothing couples the
samples of a batch. One pass over z gives them, so backward computes them again and only z is a
cached intermediate of a normalised layer. With x = (z - mean) / deviation,

    dJ/dgamma = sum over the batch of dn x,   dJ/dbeta = sum over the batch of dn,
    dJ/dz = (g - mean(g) - x mean(g x)) / deviation,   where g = dn gamma.

The kernels go over blocks of rows, so that their scratch stays in the cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from memprop.errors import GraphError
from memprop.graph.affine import BATCH
from memprop.graph.blocks import BLOCK_ELEMENTS
from memprop.graph.initial import ones
from memprop.graph.layers import Layer
from memprop.graph.rules import (
    ArraySpec,
    Call,
    Gradient,
    Rule,
    constant,
    flops_per_element,
    reduction,
)
from memprop.registry import register

if TYPE_CHECKING:
    from memprop.graph.build import NetworkBuilder
    from memprop.graph.nodes import Variable

Array = np.ndarray


@dataclass(frozen=True, repr=False)
class LayerNorm(Layer):
    """Normalises the last axis of each sample, then scales and shifts it by learned parameters."""

    def apply(self, net: "NetworkBuilder", x: "Variable") -> "Variable":
        """Add n = gamma (x - mean) / deviation + beta to ``net``."""
        width = (int(x.shape[-1]),)
        scale = net.parameter("gamma", width, ones), net.parameter("beta", width)
        return net.result("layer_norm", (x, *scale), "n", label="norm")


EPSILON: Final = 1e-5
"""Added to the variance; PyTorch's default."""


def _normalised_shape(z: ArraySpec, gamma: ArraySpec, beta: ArraySpec) -> tuple[ArraySpec, ...]:
    if len(z.shape) < 2 or z.shape[0] != BATCH:
        raise GraphError(f"a layer norm takes (batch, ..., units), got {z.shape}")
    if not gamma.shape == beta.shape == z.shape[-1:]:
        raise GraphError(
            f"a gain of shape {gamma.shape} and a shift of shape {beta.shape} do not fit {z.shape}"
        )
    return (z,)


def _block(rows: ArraySpec) -> ArraySpec:
    """Scratch for some rows of an array shaped like ``rows``."""
    width = int(rows.shape[-1])
    return ArraySpec((max(BLOCK_ELEMENTS // width, 1), width), rows.dtype)


def _statistic(rows: ArraySpec) -> ArraySpec:
    """Scratch for one number a row of a block."""
    return ArraySpec((_block(rows).shape[0], 1), rows.dtype)


def _row_blocks(scratch: tuple[Array, ...], *arrays: Array) -> Iterator[list[Array]]:
    """The matching rows of ``scratch`` and of ``arrays``, block by block."""
    step = len(scratch[0])
    arrays = tuple(array.reshape(-1, array.shape[-1]) for array in arrays)
    for start in range(0, len(arrays[0]), step):
        parts = [array[start : start + step] for array in arrays]
        yield [*(array[: len(parts[0])] for array in scratch), *parts]


def _mean(rows: Array, to: Array) -> Iterator[Call]:
    yield reduction(np.add, rows, 1, to[:, 0])
    yield partial(np.divide, to, constant(rows.shape[1], to), to)


def _normalise(z: Array, x: Array, squares: Array, inverse: Array) -> Iterator[Call]:
    """X = (z - mean) / deviation, and 1 / deviation; ``x`` may lie over ``z``."""
    yield from _mean(z, inverse)
    yield partial(np.subtract, z, inverse, x)
    yield partial(np.multiply, x, x, squares)
    yield from _mean(squares, inverse)
    yield partial(np.add, inverse, constant(EPSILON, inverse), inverse)
    yield partial(np.sqrt, inverse, inverse)
    yield partial(np.reciprocal, inverse, inverse)
    yield partial(np.multiply, x, inverse, x)


def _layer_norm(
    z: Array, gamma: Array, beta: Array, n: Array, block: Array, number: Array
) -> Iterator[Call]:
    for squares, inverse, given, made in _row_blocks((block, number), z, n):
        yield from _normalise(given, made, squares, inverse)
        yield partial(np.multiply, made, gamma, made)
        yield partial(np.add, made, beta, made)


def _gain_gradient(
    dn: Array, z: Array, dgamma: Array, block: Array, other: Array, number: Array, row: Array
) -> Iterator[Call]:
    yield partial(dgamma.fill, 0)
    for x, squares, inverse, gradient, given in _row_blocks((block, other, number), dn, z):
        yield from _normalise(given, x, squares, inverse)
        yield partial(np.multiply, x, gradient, x)
        yield reduction(np.add, x, 0, row)
        yield partial(np.add, dgamma, row, dgamma)


def _backward(
    dn: Array,
    z: Array,
    gamma: Array,
    dz: Array,
    block: Array,
    other: Array,
    number: Array,
    second: Array,
) -> Iterator[Call]:
    scratch = (block, other, number, second)
    for x, products, inverse, mean, gradient, given, made in _row_blocks(scratch, dn, z, dz):
        yield from _normalise(given, x, products, inverse)  # dz may lie over z: this comes first
        yield partial(np.multiply, gradient, gamma, made)
        yield partial(np.multiply, made, x, products)
        yield from _mean(products, mean)
        yield partial(np.multiply, x, mean, x)
        yield from _mean(made, mean)
        yield partial(np.subtract, made, mean, made)
        yield partial(np.subtract, made, x, made)
        yield partial(np.multiply, made, inverse, made)


register(
    Rule(
        name="layer_norm",
        reads=("z", "gamma", "beta"),
        writes=("n",),
        scratch=("block", "number"),
        infer=_normalised_shape,
        infer_scratch=lambda z, *_: (_block(z), _statistic(z)),
        kernel=_layer_norm,
        flops=flops_per_element(7),
        in_place=(("n", "z"),),
        gradients=(
            Gradient(of="gamma", rule="layer_norm_gain_gradient", reads=("dn", "z")),
            Gradient(of="beta", rule="column_sum", reads=("dn",)),
            Gradient(of="z", rule="layer_norm_backward", reads=("dn", "z", "gamma")),
        ),
        example="nd d d",
    ),
    Rule(
        name="layer_norm_gain_gradient",
        reads=("dn", "z"),
        writes=("dgamma",),
        scratch=("block", "other", "number", "row"),
        infer=lambda dn, _: (ArraySpec(dn.shape[-1:], dn.dtype),),
        infer_scratch=lambda dn, _: (
            _block(dn),
            _block(dn),
            _statistic(dn),
            ArraySpec(dn.shape[-1:], dn.dtype),
        ),
        kernel=_gain_gradient,
        flops=flops_per_element(7),
    ),
    Rule(
        name="layer_norm_backward",
        reads=("dn", "z", "gamma"),
        writes=("dz",),
        scratch=("block", "other", "number", "second"),
        infer=lambda dn, *_: (dn,),
        infer_scratch=lambda dn, *_: (_block(dn), _block(dn), _statistic(dn), _statistic(dn)),
        kernel=_backward,
        flops=flops_per_element(13),
        in_place=(("dz", "dn"), ("dz", "z")),
        example="nd nd d",
    ),
)
