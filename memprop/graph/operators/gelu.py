"""The exact gelu h = z Phi(z), with Phi the normal distribution (Hendrycks & Gimpel 2016)."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.graph.activations import Activation
from memprop.graph.rules import Call, constant, elementwise, elementwise_backward
from memprop.registry import register

Array = np.ndarray


def _normal_distribution(z: Array, to: Array) -> Iterator[Call]:
    """Phi(z) = (1 + erf(z / sqrt 2)) / 2."""
    from scipy.special import erf  # NumPy has none; loaded by those who use it

    yield partial(np.multiply, z, constant(math.sqrt(0.5), z), to)
    yield partial(erf, to, to)
    yield partial(np.add, to, constant(1, to), to)
    yield partial(np.multiply, to, constant(0.5, to), to)


def _gelu(z: Array, h: Array) -> Iterator[Call]:
    yield from _normal_distribution(z, h)
    yield partial(np.multiply, h, z, h)


def _gelu_backward(dh: Array, z: Array, dz: Array, density: Array) -> Iterator[Call]:
    """Gelu'(z) = Phi(z) + z exp(-z^2 / 2) / sqrt(2 pi)."""
    # dz may lie over z, so all else that reads z comes first.
    yield partial(np.multiply, z, z, density)
    yield partial(np.multiply, density, constant(-0.5, density), density)
    yield partial(np.exp, density, density)
    yield partial(np.multiply, density, z, density)
    yield partial(np.multiply, density, constant(1 / math.sqrt(2 * math.pi), density), density)
    yield from _normal_distribution(z, dz)
    yield partial(np.add, dz, density, dz)
    yield partial(np.multiply, dz, dh, dz)


class GELU(Activation):
    """h = z Phi(z)."""

    rule = "gelu"
    gain = 2.0


register(
    elementwise("gelu", _gelu, flops=5, backward="gelu_backward", in_place=False),
    elementwise_backward(
        "gelu_backward",
        _gelu_backward,
        flops=11,
        scratch=("density",),
        in_place=(("dz", "z"),),
    ),
    GELU,
)
