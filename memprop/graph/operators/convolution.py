"""Convolutions in two dimensions, as products of matrices (im2col; Chellapilla et al. 2006).

An image x of shape (channels, height, width) gives a matrix with a column for each place of the
kernel, which holds the pixels under it there; z is the product of the weights with that matrix. The
columns of a whole batch are scratch, about ``kernel * kernel`` times as large as the images. They
are filled again in backward instead of being kept:

    dJ/dW = dJ/dz columns^T,   dJ/dcolumns = W^T dJ/dz,

and dJ/dx adds each column back to the pixels that it came from. As everywhere in deep learning the
kernel is not mirrored, so it is a cross-correlation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from memprop.checks import Count, Flag, option
from memprop.errors import GraphError
from memprop.graph.affine import BATCH, Affine, Dim, elements
from memprop.graph.layers import Layer
from memprop.graph.rules import ArraySpec, Call, Gradient, Rule, reduction
from memprop.registry import register

if TYPE_CHECKING:
    from memprop.graph.build import NetworkBuilder
    from memprop.graph.nodes import Variable

Array = np.ndarray


@dataclass(frozen=True, repr=False)
class Conv2d(Layer):
    """A convolution: (batch, channels, height, width) to (batch, outputs, height', width').

    height' = (height + 2 padding - kernel) // stride + 1, and width' likewise.

    Attributes:
        outputs: how many channels it makes.
        kernel: height and width of the kernel.
        stride: by how many pixels the kernel moves.
        padding: how many rows and columns of zeros are added on each side.
        bias: whether a number is added for each channel that it makes.
    """

    outputs: int = option(check=Count())
    kernel: int = option(3, check=Count())
    stride: int = option(1, check=Count())
    padding: int = option(0, check=Count(least=0))
    bias: bool = option(True, check=Flag())

    begins_layer: ClassVar[bool] = True

    def apply(self, net: "NetworkBuilder", x: "Variable") -> "Variable":
        """Add z to ``net``."""
        if len(x.shape) != 4:
            raise GraphError(f"a convolution takes (batch, channels, height, width), got {x.shape}")
        channels, height, width = (int(extent) for extent in x.shape[1:])
        W = net.weights((self.outputs, channels, self.kernel, self.kernel))
        b = [net.parameter("b", (self.outputs,))] if self.bias else []
        rule = "convolution_with_bias" if self.bias else "convolution"
        moves = {"kernel": self.kernel, "stride": self.stride, "padding": self.padding}
        image = (height, width)
        return net.result(rule, [x, W, *b], "z", label="conv", **moves, image=image)


class _Moves(NamedTuple):
    """How the kernel moves over an image: the attributes of the operators."""

    kernel: int
    stride: int
    padding: int
    image: tuple[int, int]

    @property
    def places(self) -> tuple[int, int]:
        """How often the kernel fits, downwards and across: the extents of a result."""
        height, width = (
            (extent + 2 * self.padding - self.kernel) // self.stride + 1 for extent in self.image
        )
        return height, width

    def inside(self, padded: Array) -> Array:
        """The part of a padded image that is the image."""
        height, width = self.image
        return padded[
            :, :, self.padding : self.padding + height, self.padding : self.padding + width
        ]

    def under(self, padded: Array, i: int, j: int) -> Array:
        """The pixels under one weight of the kernel, at all its places: (batch, channels, ...)."""
        height, width = self.places
        down = slice(i, i + self.stride * (height - 1) + 1, self.stride)
        across = slice(j, j + self.stride * (width - 1) + 1, self.stride)
        return padded[:, :, down, across]


# Shapes


def _shape(x: ArraySpec, W: ArraySpec, *b: ArraySpec, **moves: Any) -> tuple[ArraySpec, ...]:
    known = _Moves(**moves)
    outputs, channels = W.shape[:2]
    fits = W.shape[2:] == (known.kernel, known.kernel) and (not b or b[0].shape == (outputs,))
    if x.shape != (BATCH, channels, *known.image) or not fits:
        raise GraphError(f"a convolution cannot take {x.shape} with the weights {W.shape}")
    if min(known.image) + 2 * known.padding < known.kernel:
        height, width = known.image
        raise GraphError(
            f"a kernel of {known.kernel} x {known.kernel} does not fit into an image of {height} x "
            f"{width} with a padding of {known.padding}"
        )
    return (ArraySpec((BATCH, outputs, *known.places), x.dtype),)


def _scratch(outputs: Dim, channels: Dim, dtype: str, **moves: Any) -> tuple[ArraySpec, ...]:
    """The padded images, the pixels under the kernel, and a result or its gradient.

    The pixels are a row for each weight of the kernel and a column for each place, the result is a
    row for each channel.
    """
    known = _Moves(**moves)
    height, width = (extent + 2 * known.padding for extent in known.image)
    places = known.places[0] * known.places[1]
    rows = int(channels) * known.kernel**2
    return (
        ArraySpec((BATCH, channels, height, width), dtype),
        ArraySpec((rows, BATCH, places), dtype),
        ArraySpec((outputs, BATCH, places), dtype),
    )


def _flops(outputs: Dim, channels: Dim, **moves: Any) -> Affine:
    """A multiplication and an addition for each weight at each place."""
    known = _Moves(**moves)
    products = int(outputs) * int(channels) * known.kernel**2 * known.places[0] * known.places[1]
    return Affine(0, 2 * products)


# Kernels


def _fill_columns(x: Array, padded: Array, columns: Array, known: _Moves) -> Iterator[Call]:
    if known.padding:
        yield partial(padded.fill, 0)
    yield partial(np.copyto, known.inside(padded), x)
    apart = _by_weight(columns, x.shape[1], known)
    for i, j in product(range(known.kernel), repeat=2):
        yield partial(np.copyto, apart[:, i, j], known.under(padded, i, j).swapaxes(0, 1))


def _by_weight(columns: Array, channels: int, known: _Moves) -> Array:
    """``columns`` as a view (channels, kernel, kernel, batch, height', width')."""
    shape = (channels, known.kernel, known.kernel, columns.shape[1], *known.places)
    return columns.reshape(shape)


def _by_channel(z: Array) -> Array:
    """``z`` as a view (channels, batch, places)."""
    return z.reshape(*z.shape[:2], -1).swapaxes(0, 1)


def _matrix(array: Array) -> Array:
    """``array`` with all its extents but the first as one."""
    return array.reshape(len(array), -1)


def _multiplied(
    x: Array, W: Array, padded: Array, columns: Array, rows: Array, known: _Moves
) -> Iterator[Call]:
    yield from _fill_columns(x, padded, columns, known)
    yield partial(np.dot, _matrix(W), _matrix(columns), _matrix(rows))


def _convolution(
    x: Array, W: Array, z: Array, padded: Array, columns: Array, rows: Array, **moves: Any
) -> Iterator[Call]:
    yield from _multiplied(x, W, padded, columns, rows, _Moves(**moves))
    yield partial(np.copyto, _by_channel(z), rows)


def _convolution_with_bias(
    x: Array, W: Array, b: Array, z: Array, padded: Array, columns: Array, rows: Array, **moves: Any
) -> Iterator[Call]:
    yield from _multiplied(x, W, padded, columns, rows, _Moves(**moves))
    yield partial(np.add, rows, b[:, None, None], _by_channel(z))


def _weight_gradient(
    dz: Array, x: Array, dW: Array, padded: Array, columns: Array, rows: Array, **moves: Any
) -> Iterator[Call]:
    yield from _fill_columns(x, padded, columns, _Moves(**moves))
    yield partial(np.copyto, rows, _by_channel(dz))
    yield partial(np.dot, _matrix(rows), _matrix(columns).T, _matrix(dW))


def _input_gradient(
    dz: Array, W: Array, dx: Array, padded: Array, columns: Array, rows: Array, **moves: Any
) -> Iterator[Call]:
    known = _Moves(**moves)
    yield partial(np.copyto, rows, _by_channel(dz))
    yield partial(np.dot, _matrix(W).T, _matrix(rows), _matrix(columns))
    yield partial(padded.fill, 0)
    apart = _by_weight(columns, dx.shape[1], known)
    for i, j in product(range(known.kernel), repeat=2):
        target = known.under(padded, i, j)
        yield partial(np.add, target, apart[:, i, j].swapaxes(0, 1), target)
    yield partial(np.copyto, dx, known.inside(padded))


def _channel_sum(dz: Array, db: Array, **_: Any) -> Iterator[Call]:
    yield reduction(np.add, dz, (0, 2, 3), db)


_DW = Gradient(of="W", rule="convolution_weight_gradient", reads=("dz", "x"))
_DB = Gradient(of="b", rule="channel_sum", reads=("dz",))
_DX = Gradient(of="x", rule="convolution_input_gradient", reads=("dz", "W"))
_SCRATCH = ("padded", "columns", "rows")
_CASES = tuple(
    {"kernel": 3, "stride": stride, "padding": padding, "image": (5, 6)}
    for stride, padding in ((1, 0), (1, 1), (2, 1))
)


def _scratch_of(x: ArraySpec, W: ArraySpec, *_: ArraySpec, **moves: Any) -> tuple[ArraySpec, ...]:
    return _scratch(W.shape[0], W.shape[1], x.dtype, **moves)


def _flops_of(x: ArraySpec, W: ArraySpec, *b: ArraySpec, **moves: Any) -> Affine:
    products = _flops(W.shape[0], W.shape[1], **moves)
    (z,) = _shape(x, W, *b, **moves)
    return products.plus(elements(z.shape)) if b else products


def _input_gradient_flops(W: ArraySpec, **moves: Any) -> Affine:
    """The product, and an addition for each pixel under the kernel at each place."""
    _, columns, _ = _scratch(W.shape[0], W.shape[1], W.dtype, **moves)
    return _flops(W.shape[0], W.shape[1], **moves).plus(elements(columns.shape))


register(
    Rule(
        name="convolution",
        reads=("x", "W"),
        writes=("z",),
        scratch=_SCRATCH,
        infer=_shape,
        infer_scratch=_scratch_of,
        kernel=_convolution,
        flops=_flops_of,
        gradients=(_DW, _DX),
        symbol="conv",
        example="n,2,5,6 4,2,3,3",
        constants=_CASES,
    ),
    Rule(
        name="convolution_with_bias",
        reads=("x", "W", "b"),
        writes=("z",),
        scratch=_SCRATCH,
        infer=_shape,
        infer_scratch=_scratch_of,
        kernel=_convolution_with_bias,
        flops=_flops_of,
        gradients=(_DW, _DB, _DX),
        symbol="conv +",
        example="n,2,5,6 4,2,3,3 4",
        constants=_CASES,
    ),
    Rule(
        name="convolution_weight_gradient",
        reads=("dz", "x"),
        writes=("dW",),
        scratch=_SCRATCH,
        infer=lambda dz, x, *, kernel, **_: (
            ArraySpec((dz.shape[1], x.shape[1], kernel, kernel), dz.dtype),
        ),
        infer_scratch=lambda dz, x, **moves: _scratch(dz.shape[1], x.shape[1], dz.dtype, **moves),
        kernel=_weight_gradient,
        flops=lambda dz, x, **moves: _flops(dz.shape[1], x.shape[1], **moves),
        symbol="conv",
        example="n,4,3,3 n,2,5,6",
        constants=_CASES[-1:],
    ),
    Rule(
        name="convolution_input_gradient",
        reads=("dz", "W"),
        writes=("dx",),
        scratch=_SCRATCH,
        infer=lambda dz, W, *, image, **_: (ArraySpec((BATCH, W.shape[1], *image), dz.dtype),),
        infer_scratch=lambda dz, W, **moves: _scratch(W.shape[0], W.shape[1], dz.dtype, **moves),
        kernel=_input_gradient,
        flops=lambda _, W, **moves: _input_gradient_flops(W, **moves),
        symbol="conv",
        example="n,4,3,3 4,2,3,3",
        constants=_CASES[-1:],
    ),
    Rule(
        name="channel_sum",
        reads=("dz",),
        writes=("db",),
        infer=lambda dz, **_: (ArraySpec((dz.shape[1],), dz.dtype),),
        kernel=_channel_sum,
        flops=lambda dz, **_: elements(dz.shape),
        symbol="Σ",
        example="n,4,3,3",
        constants=_CASES[-1:],
    ),
)
