"""The rectifier h = max(z, 0), which is positive just where z is."""

from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np

from memprop.graph.activations import Activation
from memprop.graph.rules import Call, constant, elementwise, elementwise_backward
from memprop.registry import register

Array = np.ndarray

_SMALL: Final = 2048
"""Elements up to which the shorter way into ``np.maximum`` makes up for its slower loop."""


def _relu(z: Array, h: Array) -> Iterator[Call]:
    zero = constant(0, z)
    if z.size <= _SMALL:
        yield partial(np.maximum, z, zero, out=h)
    else:
        # Against a single number np.maximum compares element by element; clip is vectorised.
        yield partial(z.clip, zero, constant(np.inf, z), h)


def _relu_backward(dh: Array, z_or_h: Array, dz: Array) -> Iterator[Call]:
    # The sign of 0 - z says where z is positive; spread over all bits it is a mask for those of
    # dh. No boolean array is made, and all three passes are vectorised.
    integers = np.dtype(f"int{8 * dz.itemsize}")
    bits, mask = dh.view(integers), dz.view(integers)
    yield partial(np.subtract, constant(0, dz), z_or_h, dz)
    yield partial(np.right_shift, mask, constant(8 * dz.itemsize - 1, mask), mask)
    yield partial(np.bitwise_and, mask, bits, mask)


class ReLU(Activation):
    """h = max(z, 0)."""

    rule = "relu"
    gain = 2.0


register(
    elementwise("relu", _relu, flops=1, backward="relu_backward", lean_backward="relu_backward"),
    elementwise_backward(
        "relu_backward",
        _relu_backward,
        flops=2,  # a comparison and a choice, done by three passes over bits
        reads="h",
        in_place=(("dz", "h"),),
        counts_calls=False,
    ),
    ReLU,
)
