"""The smooth rectifier h = log(1 + exp z), whose derivative is 1 - exp(-h) (Dugas et al. 2001)."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.graph.activations import Activation
from memprop.graph.operators.sigmoid import sigmoid
from memprop.graph.rules import Call, constant, elementwise, elementwise_backward
from memprop.registry import register

Array = np.ndarray


def _softplus(z: Array, h: Array) -> Iterator[Call]:
    yield partial(np.logaddexp, z, constant(0, z), h)


def _softplus_backward_from_input(dh: Array, z: Array, dz: Array) -> Iterator[Call]:
    yield from sigmoid(z, dz)
    yield partial(np.multiply, dz, dh, dz)


def _softplus_backward(dh: Array, h: Array, dz: Array) -> Iterator[Call]:
    yield partial(np.negative, h, dz)
    yield partial(np.expm1, dz, dz)
    yield partial(np.multiply, dz, dh, dz)
    yield partial(np.negative, dz, dz)


class Softplus(Activation):
    """h = log(1 + exp z)."""

    rule = "softplus"
    gain = 2.0


register(
    elementwise(
        "softplus",
        _softplus,
        flops=1,
        backward="softplus_backward_from_input",
        lean_backward="softplus_backward",
    ),
    elementwise_backward("softplus_backward_from_input", _softplus_backward_from_input, flops=5),
    elementwise_backward(
        "softplus_backward", _softplus_backward, flops=4, reads="h", in_place=(("dz", "h"),)
    ),
    Softplus,
)
