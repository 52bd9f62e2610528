"""The sigmoid-weighted z: h = z sigma(z) (Elfwing et al. 2018)."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.graph.activations import Activation
from memprop.graph.operators.sigmoid import sigmoid
from memprop.graph.rules import Call, constant, elementwise, elementwise_backward
from memprop.registry import register

Array = np.ndarray


def _silu(z: Array, h: Array) -> Iterator[Call]:
    yield partial(np.negative, z, h)
    yield partial(np.exp, h, h)
    yield partial(np.add, h, constant(1, h), h)
    yield partial(np.divide, z, h, h)


def _silu_backward(dh: Array, z: Array, dz: Array, slope: Array) -> Iterator[Call]:
    """Silu'(z) = sigma(z) (1 + z (1 - sigma(z)))."""
    yield from sigmoid(z, slope)
    yield partial(np.multiply, z, slope, dz)
    yield partial(np.subtract, z, dz, dz)
    yield partial(np.add, dz, constant(1, dz), dz)
    yield partial(np.multiply, dz, slope, dz)
    yield partial(np.multiply, dz, dh, dz)


class SiLU(Activation):
    """h = z / (1 + exp(-z))."""

    rule = "silu"
    gain = 2.0


register(
    elementwise("silu", _silu, flops=4, backward="silu_backward", in_place=False),
    elementwise_backward("silu_backward", _silu_backward, flops=9, scratch=("slope",)),
    SiLU,
)
