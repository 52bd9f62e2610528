"""Matrix products: z = x W^T + b, and their derivatives.

Rows are samples, so the section's z = W x reads z = x W^T here, and its outer product
dJ/dW = dJ/dz x^T becomes dz^T x, which sums over the batch. ``np.dot`` hands the arrays to the BLAS
as ``np.matmul`` does, 0.3 us sooner.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.errors import GraphError
from memprop.graph.affine import BATCH, Affine, elements
from memprop.graph.rules import ArraySpec, Call, Gradient, Rule, register

Array = np.ndarray


def _linear_shape(x: ArraySpec, W: ArraySpec, *b: ArraySpec) -> tuple[ArraySpec, ...]:
    if len(W.shape) != 2 or x.shape != (BATCH, W.shape[1]):
        raise GraphError(f"a linear operator cannot multiply {x.shape} by the weights {W.shape}")
    if b and b[0].shape != W.shape[:1]:
        raise GraphError(f"a bias of shape {b[0].shape} does not fit the weights {W.shape}")
    return (ArraySpec((BATCH, W.shape[0]), x.dtype),)


def _multiply_adds(rows: ArraySpec, matrix: ArraySpec, *_: ArraySpec) -> Affine:
    """Two FLOPs for each sample and weight; ``matrix`` is the weights or has as many columns."""
    return Affine(0, 2 * elements(rows.shape).per_sample * _columns(rows, matrix))


def _columns(rows: ArraySpec, matrix: ArraySpec) -> int:
    """The extent of ``matrix`` that ``rows`` does not have."""
    if matrix.shape[0] == BATCH:
        return elements(matrix.shape).per_sample
    return elements(matrix.shape).constant // elements(rows.shape).per_sample


def _affine_flops(x: ArraySpec, W: ArraySpec, b: ArraySpec) -> Affine:
    return _multiply_adds(x, W).plus(Affine(0, elements(b.shape).constant))


def _linear(x: Array, W: Array, z: Array) -> Iterator[Call]:
    yield partial(np.dot, x, W.T, z)


def _affine(x: Array, W: Array, b: Array, z: Array) -> Iterator[Call]:
    yield partial(np.dot, x, W.T, z)
    yield partial(np.add, z, b, z)


def _weight_gradient(dz: Array, x: Array, dW: Array) -> Iterator[Call]:
    yield partial(np.dot, dz.T, x, dW)


def _input_gradient(dz: Array, W: Array, dx: Array) -> Iterator[Call]:
    yield partial(np.dot, dz, W, dx)


def _column_sum(dz: Array, db: Array, ones: Array) -> Iterator[Call]:
    # A product with a row of ones runs at the speed of the BLAS; a sum over axis 0 takes twice
    # the time.
    yield partial(ones.fill, 1)
    yield partial(np.dot, ones, dz, db)


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
    ),
    Rule(
        name="affine",
        reads=("x", "W", "b"),
        writes=("z",),
        infer=_linear_shape,
        kernel=_affine,
        flops=_affine_flops,
        gradients=(_DW, _DB, _DX),
    ),
    Rule(
        name="linear_weight_gradient",
        reads=("dz", "x"),
        writes=("dW",),
        infer=lambda dz, x: (ArraySpec((dz.shape[1], x.shape[1]), x.dtype),),
        kernel=_weight_gradient,
        flops=_multiply_adds,
    ),
    Rule(
        name="linear_input_gradient",
        reads=("dz", "W"),
        writes=("dx",),
        infer=lambda dz, W: (ArraySpec((BATCH, W.shape[1]), dz.dtype),),
        kernel=_input_gradient,
        flops=_multiply_adds,
    ),
    Rule(
        name="column_sum",
        reads=("dz",),
        writes=("db",),
        scratch=("ones",),
        infer=lambda dz: (ArraySpec(dz.shape[1:], dz.dtype),),
        infer_scratch=lambda dz: (ArraySpec((BATCH,), dz.dtype),),
        kernel=_column_sum,
        flops=lambda dz: elements(dz.shape),
    ),
)
