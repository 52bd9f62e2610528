"""Element-wise activations h = phi(z) and their derivatives dz = dh * phi'(z).

The textbook form takes phi' from the input z. The lean form of relu, tanh and sigmoid takes it
from the output h, so z need not be kept: h = max(z, 0) is positive just where z is, tanh' is
1 - h^2 and sigmoid' is h (1 - h). gelu, which needs erf, has a file of its own.
"""

import numpy as np

from memprop.graph.rules import (
    Gradient,
    Rule,
    flops_per_element,
    like,
    no_flops,
    register,
)

Array = np.ndarray


def _relu(z: Array, h: Array) -> None:
    np.maximum(z, 0, out=h)


def _relu_backward(dh: Array, z_or_h: Array, dz: Array) -> None:
    # The comparison writes 0.0 and 1.0 into the result itself: no boolean mask is made.
    np.greater(z_or_h, 0, out=dz)
    np.multiply(dz, dh, out=dz)


def _tanh(z: Array, h: Array) -> None:
    np.tanh(z, out=h)


def _tanh_backward_from_input(dh: Array, z: Array, dz: Array) -> None:
    np.tanh(z, out=dz)
    _tanh_backward(dh, dz, dz)


def _tanh_backward(dh: Array, h: Array, dz: Array) -> None:
    np.multiply(h, h, out=dz)
    np.subtract(1, dz, out=dz)
    np.multiply(dz, dh, out=dz)


def _sigmoid(z: Array, h: Array) -> None:
    # exp(-z) may overflow to infinity, whose reciprocal is the right limit, 0.
    np.negative(z, out=h)
    np.exp(h, out=h)
    np.add(h, 1, out=h)
    np.reciprocal(h, out=h)


def _sigmoid_backward_from_input(dh: Array, z: Array, dz: Array, rest: Array) -> None:
    _sigmoid(z, dz)
    np.subtract(1, dz, out=rest)
    np.multiply(dz, rest, out=dz)
    np.multiply(dz, dh, out=dz)


def _sigmoid_backward(dh: Array, h: Array, dz: Array, rest: Array) -> None:
    np.multiply(dh, h, out=dz)
    np.subtract(1, h, out=rest)
    np.multiply(dz, rest, out=dz)


def _silu(z: Array, h: Array) -> None:
    np.negative(z, out=h)
    np.exp(h, out=h)
    np.add(h, 1, out=h)
    np.divide(z, h, out=h)


def _silu_backward(dh: Array, z: Array, dz: Array, slope: Array) -> None:
    """Silu'(z) = sigma(z) (1 + z (1 - sigma(z)))."""
    _sigmoid(z, slope)
    np.multiply(z, slope, out=dz)
    np.subtract(z, dz, out=dz)
    np.add(dz, 1, out=dz)
    np.multiply(dz, slope, out=dz)
    np.multiply(dz, dh, out=dz)


def _identity(z: Array, h: Array) -> None:
    if h is not z:  # written over its operand there is nothing to do
        np.copyto(h, z)


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
