"""Cross entropy: the mean over the batch of -log softmax(o)[y] for integer labels y.

The lean form writes the softmax p over o.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from memprop.errors import GraphError
from memprop.graph.affine import BATCH
from memprop.graph.losses import Loss, scalar, scale_by
from memprop.graph.rules import (
    ArraySpec,
    Call,
    Gradient,
    Rule,
    constant,
    flops_per_element,
    like,
    reduction,
)
from memprop.registry import register

Array = np.ndarray


class CrossEntropy(Loss):
    """L = mean of -log softmax(o)[y], with a label y for each sample."""

    rule = "cross_entropy"
    labels = True


def _check_labels(o: ArraySpec, y: ArraySpec) -> None:
    if y != ArraySpec((BATCH,), "int64"):
        raise GraphError(f"cross_entropy takes int64 labels of shape (batch,), not {y}")
    if len(o.shape) != 2:
        raise GraphError(f"cross_entropy takes outputs of shape (batch, classes), not {o.shape}")


def _shape(o: ArraySpec, y: ArraySpec) -> tuple[ArraySpec, ...]:
    _check_labels(o, y)
    return (scalar(o),)


def _with_softmax_shape(o: ArraySpec, y: ArraySpec) -> tuple[ArraySpec, ...]:
    _check_labels(o, y)
    return (scalar(o), o)


def _rows(o: ArraySpec) -> ArraySpec:
    return ArraySpec((BATCH,), o.dtype)


_INDEX = ArraySpec((BATCH,), "int64")


def _index_of_labels(y: Array, classes: int, index: Array) -> Iterator[Call]:
    """The place of each sample's label in the flat (batch, classes) array, without an arange."""
    yield partial(index.fill, classes)
    yield partial(index[:1].fill, 0)
    yield partial(np.add.accumulate, index, 0, None, index)
    yield partial(np.add, index, y, index)


def softmax(o: Array, p: Array, row: Array) -> Iterator[Call]:
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
    maximum, *others = softmax(o, p, row)
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
    yield from scale_by(do, dL, 1 / len(do))


def _cross_entropy_backward_from_output(
    dL: Array, o: Array, y: Array, do: Array, picked: Array, index: Array
) -> Iterator[Call]:
    yield from softmax(o, do, picked)
    yield from _cross_entropy_backward(dL, do, y, do, picked, index)


_SCRATCH = ("row", "picked", "index")
_FLOPS = flops_per_element(5)
_LABELS = {"y": ("o", 1)}

register(
    Rule(
        name="cross_entropy",
        reads=("o", "y"),
        writes=("L",),
        scratch=("p", *_SCRATCH),
        infer=_shape,
        infer_scratch=lambda o, _: (o, _rows(o), _rows(o), _INDEX),
        kernel=_cross_entropy_with_softmax,
        flops=_FLOPS,
        in_place=(("p", "o"),),
        gradients=(
            Gradient(of="o", rule="cross_entropy_backward_from_output", reads=("dL", "o", "y")),
        ),
        lean_rule="cross_entropy_with_softmax",
        below=_LABELS,
        symbol="l",
        example="nd labels",
    ),
    Rule(
        name="cross_entropy_with_softmax",
        reads=("o", "y"),
        writes=("L", "p"),
        scratch=_SCRATCH,
        infer=_with_softmax_shape,
        infer_scratch=lambda o, _: (_rows(o), _rows(o), _INDEX),
        kernel=_cross_entropy_with_softmax,
        flops=_FLOPS,
        in_place=(("p", "o"),),
        gradients=(Gradient(of="o", rule="cross_entropy_backward", reads=("dL", "p", "y")),),
        below=_LABELS,
        symbol="l",
        example="nd labels",
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
        symbol="l′",
        example="scalar softmax labels",
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
        symbol="l′",
        example="scalar nd labels",
        counts_calls=False,
    ),
    CrossEntropy,
)
