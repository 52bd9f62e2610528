"""Element-wise activations h = phi(z) and their derivatives dz = dh * phi'(z).

The textbook form takes phi' from the input z. The lean form of relu, tanh and sigmoid takes it
from the output h, so z need not be kept: h = max(z, 0) is positive just where z is, tanh' is
1 - h^2 and sigmoid' is h (1 - h). gelu, which needs erf, has a file of its own.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np

from memprop.graph.rules import (
    Call,
    Gradient,
    Rule,
    constant,
    flops_per_element,
    like,
    no_flops,
    register,
)

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


def _tanh(z: Array, h: Array) -> Iterator[Call]:
    yield partial(np.tanh, z, h)


def _tanh_backward_from_input(dh: Array, z: Array, dz: Array) -> Iterator[Call]:
    yield partial(np.tanh, z, dz)
    yield from _tanh_backward(dh, dz, dz)


def _tanh_backward(dh: Array, h: Array, dz: Array) -> Iterator[Call]:
    yield partial(np.multiply, h, h, dz)
    yield partial(np.subtract, constant(1, dz), dz, dz)
    yield partial(np.multiply, dz, dh, dz)


def _sigmoid(z: Array, h: Array) -> Iterator[Call]:
    # exp(-z) may overflow to infinity, whose reciprocal is the right limit, 0.
    yield partial(np.negative, z, h)
    yield partial(np.exp, h, h)
    yield partial(np.add, h, constant(1, h), h)
    yield partial(np.reciprocal, h, h)


def _sigmoid_backward_from_input(dh: Array, z: Array, dz: Array, rest: Array) -> Iterator[Call]:
    yield from _sigmoid(z, dz)
    yield partial(np.subtract, constant(1, dz), dz, rest)
    yield partial(np.multiply, dz, rest, dz)
    yield partial(np.multiply, dz, dh, dz)


def _sigmoid_backward(dh: Array, h: Array, dz: Array, rest: Array) -> Iterator[Call]:
    yield partial(np.multiply, dh, h, dz)
    yield partial(np.subtract, constant(1, h), h, rest)
    yield partial(np.multiply, dz, rest, dz)


def _silu(z: Array, h: Array) -> Iterator[Call]:
    yield partial(np.negative, z, h)
    yield partial(np.exp, h, h)
    yield partial(np.add, h, constant(1, h), h)
    yield partial(np.divide, z, h, h)


def _silu_backward(dh: Array, z: Array, dz: Array, slope: Array) -> Iterator[Call]:
    """Silu'(z) = sigma(z) (1 + z (1 - sigma(z)))."""
    yield from _sigmoid(z, slope)
    yield partial(np.multiply, z, slope, dz)
    yield partial(np.subtract, z, dz, dz)
    yield partial(np.add, dz, constant(1, dz), dz)
    yield partial(np.multiply, dz, slope, dz)
    yield partial(np.multiply, dz, dh, dz)


def _identity(z: Array, h: Array) -> Iterator[Call]:
    if h is not z:  # written over its operand there is nothing to do
        yield partial(np.copyto, h, z)


def _backward(rule: str, read: str) -> tuple[Gradient, ...]:
    return (Gradient(of="z", rule=rule, reads=("dh", read)),)


def _activation(name: str, kernel, flops: int, **derivative) -> Rule:
    return Rule(
        name=name,
        reads=("z",),
        writes=("h",),
        infer=like(),
        kernel=kernel,
        flops=flops_per_element(flops),
        **derivative,
    )


def _derivative(
    name: str, kernel, flops: int, read: str, scratch: tuple[str, ...] = (), **in_place
) -> Rule:
    return Rule(
        name=name,
        reads=("dh", read),
        writes=("dz",),
        scratch=scratch,
        infer=like(),
        infer_scratch=lambda dh, _: (dh,) * len(scratch),
        kernel=kernel,
        flops=flops_per_element(flops),
        **in_place,
    )


_OVER_INPUT = (("h", "z"),)

register(
    _activation(
        "relu",
        _relu,
        1,
        in_place=_OVER_INPUT,
        gradients=_backward("relu_backward", "z"),
        lean_gradients=_backward("relu_backward", "h"),
    ),
    _activation(
        "tanh",
        _tanh,
        1,
        in_place=_OVER_INPUT,
        gradients=_backward("tanh_backward_from_input", "z"),
        lean_gradients=_backward("tanh_backward", "h"),
    ),
    _activation(
        "sigmoid",
        _sigmoid,
        4,
        in_place=_OVER_INPUT,
        gradients=_backward("sigmoid_backward_from_input", "z"),
        lean_gradients=_backward("sigmoid_backward", "h"),
    ),
    _activation("silu", _silu, 4, gradients=_backward("silu_backward", "z")),
    Rule(
        name="identity",
        reads=("z",),
        writes=("h",),
        infer=like(),
        kernel=_identity,
        flops=no_flops,
        in_place=_OVER_INPUT,
        gradients=(Gradient(of="z", rule=None, reads=("dh",)),),
    ),
    _derivative("relu_backward", _relu_backward, 2, "h", in_place=(("dz", "h"),)),
    _derivative("tanh_backward_from_input", _tanh_backward_from_input, 4, "z"),
    _derivative("tanh_backward", _tanh_backward, 3, "h", in_place=(("dz", "h"),)),
    _derivative("sigmoid_backward_from_input", _sigmoid_backward_from_input, 7, "z", ("rest",)),
    _derivative(
        "sigmoid_backward",
        _sigmoid_backward,
        3,
        "h",
        ("rest",),
        in_place=(("dz", "dh"), ("rest", "h")),
    ),
    _derivative("silu_backward", _silu_backward, 9, "z", ("slope",)),
)
