"""The mean squared error over samples and outputs, as in PyTorch.

The lean form writes the error r = o - y over o.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.errors import GraphError
from memprop.graph.losses import Loss, scalar, scale_by
from memprop.graph.rules import (
    ArraySpec,
    Call,
    Gradient,
    Rule,
    constant,
    flops_per_element,
    like,
)
from memprop.registry import register

Array = np.ndarray


class MeanSquaredError(Loss):
    """L = mean of (o - y)^2, with a target y for each output."""

    rule = "mse"


def _check_targets(o: ArraySpec, y: ArraySpec) -> None:
    if y != o:
        raise GraphError(f"mse takes targets like the output, {o}, not {y}")


def _shape(o: ArraySpec, y: ArraySpec) -> tuple[ArraySpec, ...]:
    _check_targets(o, y)
    return (scalar(o),)


def _with_error_shape(o: ArraySpec, y: ArraySpec) -> tuple[ArraySpec, ...]:
    _check_targets(o, y)
    return (scalar(o), o)


def _mse_with_error(o: Array, y: Array, L: Array, r: Array) -> Iterator[Call]:
    flat = r.reshape(-1)
    yield partial(np.subtract, o, y, r)
    yield partial(np.dot, flat, flat, L)
    yield partial(np.divide, L, constant(r.size, L), L)


def _mse_backward(dL: Array, r: Array, do: Array) -> Iterator[Call]:
    if do is not r:
        yield partial(np.copyto, do, r)
    yield from scale_by(do, dL, 2 / r.size)


def _mse_backward_from_output(dL: Array, o: Array, y: Array, do: Array) -> Iterator[Call]:
    yield partial(np.subtract, o, y, do)
    yield from _mse_backward(dL, do, do)


register(
    Rule(
        name="mse",
        reads=("o", "y"),
        writes=("L",),
        scratch=("r",),
        infer=_shape,
        infer_scratch=lambda o, _: (o,),
        kernel=_mse_with_error,
        flops=flops_per_element(3),
        in_place=(("r", "o"),),
        gradients=(Gradient(of="o", rule="mse_backward_from_output", reads=("dL", "o", "y")),),
        lean_rule="mse_with_error",
        symbol="l",
    ),
    Rule(
        name="mse_with_error",
        reads=("o", "y"),
        writes=("L", "r"),
        infer=_with_error_shape,
        kernel=_mse_with_error,
        flops=flops_per_element(3),
        in_place=(("r", "o"),),
        gradients=(Gradient(of="o", rule="mse_backward", reads=("dL", "r")),),
        symbol="l",
    ),
    Rule(
        name="mse_backward",
        reads=("dL", "r"),
        writes=("do",),
        infer=like(1),
        kernel=_mse_backward,
        flops=flops_per_element(1, port=1),
        in_place=(("do", "r"),),
        symbol="l′",
        example="scalar nd",
    ),
    Rule(
        name="mse_backward_from_output",
        reads=("dL", "o", "y"),
        writes=("do",),
        infer=like(1),
        kernel=_mse_backward_from_output,
        flops=flops_per_element(2, port=1),
        in_place=(("do", "o"),),
        symbol="l′",
        example="scalar nd nd",
    ),
    MeanSquaredError,
)
