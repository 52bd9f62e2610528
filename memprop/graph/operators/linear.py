"""Linear maps: z = x W^T + b along the last axis, and their derivatives.

Rows are samples, or the positions of samples of shape (positions, inputs). So the section's z = W x
reads z = x W^T here, and its outer product dJ/dW = dJ/dz x^T becomes dz^T x, which sums over the
rows. ``np.dot`` hands the arrays to the BLAS as ``np.matmul`` does, 0.3 us sooner.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from memprop.checks import Count, Flag, option
from memprop.errors import GraphError
from memprop.graph.affine import BATCH, Affine, elements
from memprop.graph.layers import Layer
from memprop.graph.rules import ArraySpec, Call, Gradient, Rule
from memprop.registry import register

if TYPE_CHECKING:
    from memprop.graph.build import NetworkBuilder
    from memprop.graph.nodes import Variable

Array = np.ndarray


@dataclass(frozen=True, repr=False)
class Linear(Layer):
    """z = x W^T + b along the last axis: (batch, ..., inputs) to (batch, ..., outputs).

    Attributes:
        outputs: how many.
        bias: whether b is added.
        gain: the variance of the initial weights times the number of inputs; ``None`` for that of
            the next activation.
    """

    outputs: int = option(check=Count())
    bias: bool = option(True, check=Flag())
    gain: float | None = None

    begins_layer: ClassVar[bool] = True

    def apply(self, net: "NetworkBuilder", x: "Variable") -> "Variable":
        """Add z = x W^T + b to ``net``."""
        operands = (x, *parameters(net, int(x.shape[-1]), self.outputs, bias=self.bias))
        rule = "affine" if self.bias else "linear"
        return net.result(rule, operands, "z", label="linear")


def parameters(
    net: "NetworkBuilder", inputs: int, outputs: int, *, bias: bool, suffix: str = ""
) -> "tuple[Variable, ...]":
    """The weights and, where it is wanted, the bias of a linear map."""
    W = net.weights((outputs, inputs), f"W{suffix}")
    return (W, net.parameter(f"b{suffix}", (outputs,))) if bias else (W,)


def _linear_shape(x: ArraySpec, W: ArraySpec, *b: ArraySpec) -> tuple[ArraySpec, ...]:
    expected = (BATCH, *x.shape[1:-1], W.shape[-1])
    if len(W.shape) != 2 or x.shape != expected:
        raise GraphError(f"a linear operator cannot multiply {x.shape} by the weights {W.shape}")
    if b and b[0].shape != W.shape[:1]:
        raise GraphError(f"a bias of shape {b[0].shape} does not fit the weights {W.shape}")
    return (ArraySpec((*x.shape[:-1], W.shape[0]), x.dtype),)


def _rows(array: Array) -> Array:
    """``array`` as a matrix with a row for each sample and position."""
    return array if array.ndim == 2 else array.reshape(-1, array.shape[-1])


def _multiply_adds(rows: ArraySpec, matrix: ArraySpec, *_: ArraySpec) -> Affine:
    """Two FLOPs for each row and weight; ``matrix`` is the weights or has as many columns."""
    return Affine(0, 2 * elements(rows.shape).per_sample * _columns(rows, matrix))


def _columns(rows: ArraySpec, matrix: ArraySpec) -> int:
    """The extent of ``matrix`` that ``rows`` does not have."""
    if matrix.shape[0] == BATCH:
        return int(matrix.shape[-1])
    return elements(matrix.shape).constant // int(rows.shape[-1])


def _affine_flops(x: ArraySpec, W: ArraySpec, b: ArraySpec) -> Affine:
    positions = elements(x.shape).per_sample // int(x.shape[-1])
    return _multiply_adds(x, W).plus(Affine(0, positions * elements(b.shape).constant))


def _linear(x: Array, W: Array, z: Array) -> Iterator[Call]:
    yield partial(np.dot, _rows(x), W.T, _rows(z))


def _affine(x: Array, W: Array, b: Array, z: Array) -> Iterator[Call]:
    yield partial(np.dot, _rows(x), W.T, _rows(z))
    yield partial(np.add, z, b, z)


def _weight_gradient(dz: Array, x: Array, dW: Array) -> Iterator[Call]:
    yield partial(np.dot, _rows(dz).T, _rows(x), dW)


def _input_gradient(dz: Array, W: Array, dx: Array) -> Iterator[Call]:
    yield partial(np.dot, _rows(dz), W, _rows(dx))


def _column_sum(dz: Array, db: Array, ones: Array) -> Iterator[Call]:
    # A product with a row of ones runs at the speed of the BLAS; a sum over axis 0 takes twice
    # the time.
    yield partial(ones.fill, 1)
    yield partial(np.dot, ones.reshape(-1), _rows(dz), db)


_DW = Gradient(of="W", rule="linear_weight_gradient", reads=("dz", "x"))
_DB = Gradient(of="b", rule="column_sum", reads=("dz",))
_DX = Gradient(of="x", rule="linear_input_gradient", reads=("dz", "W"))

register(
    Rule(
        name="linear",
        reads=("x", "W"),
        writes=("z",),
        infer=_linear_shape,
        kernel=_linear,
        flops=_multiply_adds,
        gradients=(_DW, _DX),
        symbol="×",
        example="nd kd",
    ),
    Rule(
        name="affine",
        reads=("x", "W", "b"),
        writes=("z",),
        infer=_linear_shape,
        kernel=_affine,
        flops=_affine_flops,
        gradients=(_DW, _DB, _DX),
        symbol="× +",
        example="nd kd k",
    ),
    Rule(
        name="linear_weight_gradient",
        reads=("dz", "x"),
        writes=("dW",),
        infer=lambda dz, x: (ArraySpec((dz.shape[-1], x.shape[-1]), x.dtype),),
        kernel=_weight_gradient,
        flops=_multiply_adds,
        symbol="×",
        example="nk nd",
    ),
    Rule(
        name="linear_input_gradient",
        reads=("dz", "W"),
        writes=("dx",),
        infer=lambda dz, W: (ArraySpec((*dz.shape[:-1], W.shape[1]), dz.dtype),),
        kernel=_input_gradient,
        flops=_multiply_adds,
        symbol="×",
        example="nk kd",
    ),
    Rule(
        name="column_sum",
        reads=("dz",),
        writes=("db",),
        scratch=("ones",),
        infer=lambda dz: (ArraySpec(dz.shape[-1:], dz.dtype),),
        infer_scratch=lambda dz: (ArraySpec(dz.shape[:-1], dz.dtype),),
        kernel=_column_sum,
        flops=lambda dz: elements(dz.shape),
        symbol="Σ",
        counts_calls=False,
    ),
)
