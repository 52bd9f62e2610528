"""The hyperbolic tangent, whose derivative is 1 - h^2."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.graph.activations import Activation
from memprop.graph.rules import Call, constant, elementwise, elementwise_backward
from memprop.registry import register

Array = np.ndarray


def _tanh(z: Array, h: Array) -> Iterator[Call]:
    yield partial(np.tanh, z, h)


def _tanh_backward_from_input(dh: Array, z: Array, dz: Array) -> Iterator[Call]:
    yield partial(np.tanh, z, dz)
    yield from _tanh_backward(dh, dz, dz)


def _tanh_backward(dh: Array, h: Array, dz: Array) -> Iterator[Call]:
    yield partial(np.multiply, h, h, dz)
    yield partial(np.subtract, constant(1, dz), dz, dz)
    yield partial(np.multiply, dz, dh, dz)


class Tanh(Activation):
    """h = tanh(z)."""

    rule = "tanh"


register(
    elementwise(
        "tanh",
        _tanh,
        flops=1,
        backward="tanh_backward_from_input",
        lean_backward="tanh_backward",
    ),
    elementwise_backward("tanh_backward_from_input", _tanh_backward_from_input, flops=4),
    elementwise_backward(
        "tanh_backward", _tanh_backward, flops=3, reads="h", in_place=(("dz", "h"),)
    ),
    Tanh,
)
