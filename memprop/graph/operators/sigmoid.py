"""The logistic function, whose derivative is h (1 - h)."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.graph.activations import Activation
from memprop.graph.rules import Call, constant, elementwise, elementwise_backward
from memprop.registry import register

Array = np.ndarray


def sigmoid(z: Array, h: Array) -> Iterator[Call]:
    """The calls that make h = 1 / (1 + exp(-z))."""
    # exp(-z) may overflow to infinity, whose reciprocal is the right limit, 0.
    yield partial(np.negative, z, h)
    yield partial(np.exp, h, h)
    yield partial(np.add, h, constant(1, h), h)
    yield partial(np.reciprocal, h, h)


def _sigmoid_backward_from_input(dh: Array, z: Array, dz: Array, rest: Array) -> Iterator[Call]:
    yield from sigmoid(z, dz)
    yield partial(np.subtract, constant(1, dz), dz, rest)
    yield partial(np.multiply, dz, rest, dz)
    yield partial(np.multiply, dz, dh, dz)


def _sigmoid_backward(dh: Array, h: Array, dz: Array, rest: Array) -> Iterator[Call]:
    yield partial(np.multiply, dh, h, dz)
    yield partial(np.subtract, constant(1, h), h, rest)
    yield partial(np.multiply, dz, rest, dz)


class Sigmoid(Activation):
    """h = 1 / (1 + exp(-z))."""

    rule = "sigmoid"


register(
    elementwise(
        "sigmoid",
        sigmoid,
        flops=4,
        backward="sigmoid_backward_from_input",
        lean_backward="sigmoid_backward",
    ),
    elementwise_backward(
        "sigmoid_backward_from_input", _sigmoid_backward_from_input, flops=7, scratch=("rest",)
    ),
    elementwise_backward(
        "sigmoid_backward",
        _sigmoid_backward,
        flops=3,
        reads="h",
        scratch=("rest",),
        in_place=(("dz", "dh"), ("rest", "h")),
    ),
    Sigmoid,
)
