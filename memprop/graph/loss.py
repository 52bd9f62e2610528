"""Losses L = l(o, y) and their derivatives.

``cross_entropy`` is the mean over the batch of -log softmax(o)[y] for integer labels y; ``mse``
the mean of (o - y)^2 over samples and outputs, as PyTorch has them. The lean form of each leaves
a residual in the place of o: the softmax p, or the error r = o - y.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.errors import GraphError
from memprop.graph.affine import BATCH
from memprop.graph.rules import (
    ArraySpec,
    Call,
    Gradient,
    Rule,
    constant,
    flops_per_element,
    like,
    reduction,
    register,
)

Array = np.ndarray


def _scalar(o: ArraySpec, *_: ArraySpec, **__: float) -> tuple[ArraySpec, ...]:
    return (ArraySpec((), o.dtype),)


def _check_labels(o: ArraySpec, y: ArraySpec) -> None:
    if y != ArraySpec((BATCH,), "int64"):
        raise GraphError(f"cross_entropy takes int64 labels of shape (batch,), not {y}")


def _check_targets(o: ArraySpec, y: ArraySpec) -> None:
    if y != o:
        raise GraphError(f"mse takes targets like the output, {o}, not {y}")


def _cross_entropy_shape(o: ArraySpec, y: ArraySpec) -> tuple[ArraySpec, ...]:
    _check_labels(o, y)
    return _scalar(o)


def _cross_entropy_with_softmax_shape(o: ArraySpec, y: ArraySpec) -> tuple[ArraySpec, ...]:
    _check_labels(o, y)
    return (*_scalar(o), o)


def _mse_shape(o: ArraySpec, y: ArraySpec) -> tuple[ArraySpec, ...]:
    _check_targets(o, y)
    return _scalar(o)


def _mse_with_error_shape(o: ArraySpec, y: ArraySpec) -> tuple[ArraySpec, ...]:
    _check_targets(o, y)
    return (*_scalar(o), o)


def _rows(o: ArraySpec) -> ArraySpec:
    return ArraySpec((BATCH,), o.dtype)


_INDEX = ArraySpec((BATCH,), "int64")


def _index_of_labels(y: Array, classes: int, index: Array) -> Iterator[Call]:
    """The place of each sample's label in the flat (batch, classes) array, without an arange."""
    yield partial(index.fill, classes)
    yield partial(index[:1].fill, 0)
    yield partial(np.add.accumulate, index, 0, None, index)
    yield partial(np.add, index, y, index)


def _softmax(o: Array, p: Array, row: Array) -> Iterator[Call]:
    """Softmax of each row, shifted by the row's maximum so that nothing overflows.

    The sum of exp(o_j - m) of each row stays in ``row``.
    """
    column = row[:, None]
    yield reduction(np.maximum, o, 1, row)
    yield partial(np.subtract, o, column, p)
    yield partial(np.exp, p, p)
    yield reduction(np.add, p, 1, row)
    yield partial(np.divide, p, column, p)


def _take(flat: Array, index: Array, picked: Array) -> Call:
    # "clip" because NumPy buffers the output under the default mode; the labels are in range.
    return partial(flat.take, index, None, picked, "clip")


def _cross_entropy_with_softmax(
    o: Array, y: Array, L: Array, p: Array, row: Array, picked: Array, index: Array
) -> Iterator[Call]:
    """L = mean(log sum_j exp(o_j - m) - (o_y - m)), m the row's maximum."""
    yield from _index_of_labels(y, o.shape[1], index)
    yield _take(o.reshape(-1), index, picked)
    maximum, *others = _softmax(o, p, row)
    yield maximum
    yield partial(np.subtract, picked, row, picked)
    yield from others
    yield partial(np.log, row, row)
    yield partial(np.subtract, row, picked, row)
    yield reduction(np.add, row, 0, L)
    yield partial(np.divide, L, constant(len(row), L), L)


def _subtract_one_at(p: Array, index: Array, picked: Array) -> Iterator[Call]:
    flat = p.reshape(-1)
    yield _take(flat, index, picked)
    yield partial(np.subtract, picked, constant(1, picked), picked)
    yield partial(flat.put, index, picked, "clip")


def _cross_entropy_backward(
    dL: Array, p: Array, y: Array, do: Array, picked: Array, index: Array
) -> Iterator[Call]:
    """dL/do = (softmax(o) - onehot(y)) / batch."""
    if do is not p:
        yield partial(np.copyto, do, p)
    yield from _index_of_labels(y, do.shape[1], index)
    yield from _subtract_one_at(do, index, picked)
    yield from _scale(do, dL, 1 / len(do))


def _scale(rows: Array, dL: Array, factor: float) -> Iterator[Call]:
    """Multiply by the gradient of the loss and by a number, in one pass over ``rows``."""
    scale = np.empty_like(dL)
    yield partial(np.multiply, dL, constant(factor, dL), scale)
    yield partial(np.multiply, rows, scale, rows)


def _cross_entropy_backward_from_output(
    dL: Array, o: Array, y: Array, do: Array, picked: Array, index: Array
) -> Iterator[Call]:
    yield from _softmax(o, do, picked)
    yield from _cross_entropy_backward(dL, do, y, do, picked, index)


def _mse_with_error(o: Array, y: Array, L: Array, r: Array) -> Iterator[Call]:
    flat = r.reshape(-1)
    yield partial(np.subtract, o, y, r)
    yield partial(np.dot, flat, flat, L)
    yield partial(np.divide, L, constant(r.size, L), L)


def _mse_backward(dL: Array, r: Array, do: Array) -> Iterator[Call]:
    if do is not r:
        yield partial(np.copyto, do, r)
    yield from _scale(do, dL, 2 / r.size)


def _mse_backward_from_output(dL: Array, o: Array, y: Array, do: Array) -> Iterator[Call]:
    yield partial(np.subtract, o, y, do)
    yield from _mse_backward(dL, do, do)


_CROSS_ENTROPY_SCRATCH = ("row", "picked", "index")
_CROSS_ENTROPY_FLOPS = flops_per_element(5)

register(
    Rule(
        name="cross_entropy",
        reads=("o", "y"),
        writes=("L",),
        scratch=("p", *_CROSS_ENTROPY_SCRATCH),
        infer=_cross_entropy_shape,
        infer_scratch=lambda o, _: (o, _rows(o), _rows(o), _INDEX),
        kernel=_cross_entropy_with_softmax,
        flops=_CROSS_ENTROPY_FLOPS,
        in_place=(("p", "o"),),
        gradients=(
            Gradient(of="o", rule="cross_entropy_backward_from_output", reads=("dL", "o", "y")),
        ),
        lean_rule="cross_entropy_with_softmax",
    ),
    Rule(
        name="cross_entropy_with_softmax",
        reads=("o", "y"),
        writes=("L", "p"),
        scratch=_CROSS_ENTROPY_SCRATCH,
        infer=_cross_entropy_with_softmax_shape,
        infer_scratch=lambda o, _: (_rows(o), _rows(o), _INDEX),
        kernel=_cross_entropy_with_softmax,
        flops=_CROSS_ENTROPY_FLOPS,
        in_place=(("p", "o"),),
        gradients=(Gradient(of="o", rule="cross_entropy_backward", reads=("dL", "p", "y")),),
    ),
    Rule(
        name="cross_entropy_backward",
        reads=("dL", "p", "y"),
        writes=("do",),
        scratch=("picked", "index"),
        infer=like(1),
        infer_scratch=lambda _, p, __: (_rows(p), _INDEX),
        kernel=_cross_entropy_backward,
        flops=flops_per_element(1, port=1),
        in_place=(("do", "p"),),
    ),
    Rule(
        name="cross_entropy_backward_from_output",
        reads=("dL", "o", "y"),
        writes=("do",),
        scratch=("picked", "index"),
        infer=like(1),
        infer_scratch=lambda _, o, __: (_rows(o), _INDEX),
        kernel=_cross_entropy_backward_from_output,
        flops=flops_per_element(5, port=1),
        in_place=(("do", "o"),),
    ),
    Rule(
        name="mse",
        reads=("o", "y"),
        writes=("L",),
        scratch=("r",),
        infer=_mse_shape,
        infer_scratch=lambda o, _: (o,),
        kernel=_mse_with_error,
        flops=flops_per_element(3),
        in_place=(("r", "o"),),
        gradients=(Gradient(of="o", rule="mse_backward_from_output", reads=("dL", "o", "y")),),
        lean_rule="mse_with_error",
    ),
    Rule(
        name="mse_with_error",
        reads=("o", "y"),
        writes=("L", "r"),
        infer=_mse_with_error_shape,
        kernel=_mse_with_error,
        flops=flops_per_element(3),
        in_place=(("r", "o"),),
        gradients=(Gradient(of="o", rule="mse_backward", reads=("dL", "r")),),
    ),
    Rule(
        name="mse_backward",
        reads=("dL", "r"),
        writes=("do",),
        infer=like(1),
        kernel=_mse_backward,
        flops=flops_per_element(1, port=1),
        in_place=(("do", "r"),),
    ),
    Rule(
        name="mse_backward_from_output",
        reads=("dL", "o", "y"),
        writes=("do",),
        infer=like(1),
        kernel=_mse_backward_from_output,
        flops=flops_per_element(2, port=1),
        in_place=(("do", "o"),),
    ),
)
