"""Losses L = l(o, y) and their derivatives.

``cross_entropy`` is the mean over the batch of -log softmax(o)[y] for integer labels y; ``mse``
the mean of (o - y)^2 over samples and outputs, as PyTorch has them. The lean form of each leaves
a residual in the place of o: the softmax p, or the error r = o - y.
"""

import numpy as np

from memprop.errors import GraphError
from memprop.graph.affine import BATCH
from memprop.graph.rules import (
    ArraySpec,
    Gradient,
    Rule,
    flops_per_element,
    like,
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


def _index_of_labels(y: Array, classes: int, index: Array) -> None:
    """The place of each sample's label in the flat (batch, classes) array, without an arange."""
    index.fill(classes)
    index[:1] = 0
    np.add.accumulate(index, out=index)
    np.add(index, y, out=index)


def _softmax(o: Array, p: Array, row: Array) -> None:
    """Softmax of each row, shifted by the row's maximum so that nothing overflows."""
    np.maximum.reduce(o, axis=1, out=row)
    np.subtract(o, row[:, None], out=p)
    np.exp(p, out=p)
    np.add.reduce(p, axis=1, out=row)
    np.divide(p, row[:, None], out=p)


def _cross_entropy_with_softmax(
    o: Array, y: Array, L: Array, p: Array, row: Array, picked: Array, index: Array
) -> None:
    """L = mean(log sum_j exp(o_j - m) - (o_y - m)), m the row's maximum."""
    _index_of_labels(y, o.shape[1], index)
    np.maximum.reduce(o, axis=1, out=row)
    # "clip" because NumPy buffers ``out`` under the default mode; the labels are in range.
    np.take(o.reshape(-1), index, out=picked, mode="clip")
    np.subtract(picked, row, out=picked)
    np.subtract(o, row[:, None], out=p)
    np.exp(p, out=p)
    np.add.reduce(p, axis=1, out=row)
    np.divide(p, row[:, None], out=p)
    np.log(row, out=row)
    np.subtract(row, picked, out=row)
    np.add.reduce(row, out=L)
    np.divide(L, len(row), out=L)


def _subtract_one_at(p: Array, index: Array, picked: Array) -> None:
    flat = p.reshape(-1)
    np.take(flat, index, out=picked, mode="clip")
    np.subtract(picked, 1, out=picked)
    np.put(flat, index, picked, mode="clip")


def _cross_entropy_backward(
    dL: Array, p: Array, y: Array, do: Array, picked: Array, index: Array
) -> None:
    """dL/do = (softmax(o) - onehot(y)) / batch."""
    if do is not p:
        np.copyto(do, p)
    _index_of_labels(y, do.shape[1], index)
    _subtract_one_at(do, index, picked)
    np.multiply(do, dL / len(do), out=do)


def _cross_entropy_backward_from_output(
    dL: Array, o: Array, y: Array, do: Array, picked: Array, index: Array
) -> None:
    _softmax(o, do, picked)
    _cross_entropy_backward(dL, do, y, do, picked, index)


def _mse_with_error(o: Array, y: Array, L: Array, r: Array) -> None:
    np.subtract(o, y, out=r)
    flat = r.reshape(-1)
    np.dot(flat, flat, out=L)
    np.divide(L, r.size, out=L)


def _mse_backward(dL: Array, r: Array, do: Array) -> None:
    np.multiply(r, 2 * dL / r.size, out=do)


def _mse_backward_from_output(dL: Array, o: Array, y: Array, do: Array) -> None:
    np.subtract(o, y, out=do)
    _mse_backward(dL, do, do)


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
