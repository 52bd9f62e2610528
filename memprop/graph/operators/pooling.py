"""Max pooling: the largest number of each window of an image.

The gradient goes to the first of the largest numbers. The lean form keeps which one that was, in a
byte, so that neither the operand nor the result need be kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from memprop.checks import Count, option
from memprop.errors import GraphError
from memprop.graph.affine import BATCH, Affine, elements
from memprop.graph.layers import Layer
from memprop.graph.rules import ArraySpec, Call, Gradient, Rule
from memprop.registry import register

if TYPE_CHECKING:
    from memprop.graph.build import NetworkBuilder
    from memprop.graph.nodes import Variable

Array = np.ndarray

_LARGEST: Final = 15
"""Height and width of a window up to which its places are numbered by a byte."""


@dataclass(frozen=True, repr=False)
class MaxPool2d(Layer):
    """The largest number of each window, which do not overlap.

    (batch, channels, height, width) to (batch, channels, height // window, width // window); rows
    and columns that are left over are dropped.

    Attributes:
        window: height and width of a window, at most 15.
    """

    window: int = option(2, check=Count())

    def apply(self, net: "NetworkBuilder", x: "Variable") -> "Variable":
        """Add p to ``net``."""
        if len(x.shape) != 4:
            raise GraphError(f"max pooling takes (batch, channels, height, width), got {x.shape}")
        image = tuple(int(extent) for extent in x.shape[2:])
        return net.result("max_pool", [x], "p", window=self.window, image=image)


def _pooled(x: ArraySpec, *, window: int, image: tuple[int, int]) -> ArraySpec:
    height, width = (extent // window for extent in image)
    if len(x.shape) != 4 or (x.shape[0], *x.shape[2:]) != (BATCH, *image):
        raise GraphError(f"max pooling was made for images of {image}, got {x.shape}")
    if not (height and width and window <= _LARGEST):
        raise GraphError(
            f"a window of {window} x {window} must fit into an image of {image[0]} x {image[1]}, "
            f"and be at most {_LARGEST} x {_LARGEST}"
        )
    return ArraySpec((BATCH, x.shape[1], height, width), x.dtype)


def _places(x: Array, p: Array, window: int) -> Iterator[tuple[int, Array]]:
    """Each place in a window by its number, with the view of ``x`` at that place of all windows."""
    height, width = p.shape[2:]
    for number, (i, j) in enumerate(product(range(window), repeat=2)):
        yield number, x[:, :, i : height * window : window, j : width * window : window]


def _max_pool(x: Array, p: Array, *, window: int, **_: Any) -> Iterator[Call]:
    first, *others = [view for _number, view in _places(x, p, window)]
    yield partial(np.copyto, p, first)
    for view in others:
        yield partial(np.maximum, p, view, out=p)


def _max_pool_with_index(
    x: Array, p: Array, index: Array, larger: Array, *, window: int, **_: Any
) -> Iterator[Call]:
    (_number, first), *others = _places(x, p, window)
    yield partial(np.copyto, p, first)
    yield partial(index.fill, 0)
    for number, view in others:
        yield partial(np.greater, view, p, larger)
        yield partial(np.copyto, index, np.uint8(number), where=larger)
        yield partial(np.maximum, p, view, out=p)


def _backward(
    dp: Array, index: Array, dx: Array, chosen: Array, *, window: int, **_: Any
) -> Iterator[Call]:
    yield partial(dx.fill, 0)
    for number, view in _places(dx, dp, window):
        yield partial(np.equal, index, np.uint8(number), chosen)
        yield partial(np.multiply, dp, chosen, view)


def _backward_from_input(
    dp: Array,
    x: Array,
    dx: Array,
    p: Array,
    index: Array,
    chosen: Array,
    *,
    window: int,
    image: tuple[int, int],
) -> Iterator[Call]:
    yield from _max_pool_with_index(x, p, index, chosen, window=window)
    yield from _backward(dp, index, dx, chosen, window=window)


def _comparisons(x: ArraySpec, *, window: int, image: tuple[int, int]) -> Affine:
    return elements(_pooled(x, window=window, image=image).shape).times(window**2 - 1)


def _like(pooled: ArraySpec, dtype: str) -> ArraySpec:
    return ArraySpec(pooled.shape, dtype)


def _image(dp: ArraySpec, *_: ArraySpec, window: int, image: tuple[int, int]):
    del window
    return (ArraySpec((BATCH, dp.shape[1], *image), dp.dtype),)


_CASES = ({"window": 2, "image": (4, 5)}, {"window": 3, "image": (4, 5)})

register(
    Rule(
        name="max_pool",
        reads=("x",),
        writes=("p",),
        infer=lambda x, **window: (_pooled(x, **window),),
        kernel=_max_pool,
        flops=_comparisons,
        gradients=(Gradient(of="x", rule="max_pool_backward_from_input", reads=("dp", "x")),),
        lean_rule="max_pool_with_index",
        symbol="max",
        example="n,2,4,5",
        constants=_CASES,
    ),
    Rule(
        name="max_pool_with_index",
        reads=("x",),
        writes=("p", "index"),
        scratch=("larger",),
        infer=lambda x, **w: (_pooled(x, **w), _like(_pooled(x, **w), "uint8")),
        infer_scratch=lambda x, **w: (_like(_pooled(x, **w), "bool"),),
        kernel=_max_pool_with_index,
        flops=_comparisons,
        gradients=(Gradient(of="x", rule="max_pool_backward", reads=("dp", "index")),),
        symbol="max",
        example="n,2,4,5",
        constants=_CASES,
        counts_calls=False,  # a maximum and its place are two comparisons there
    ),
    Rule(
        name="max_pool_backward",
        reads=("dp", "index"),
        writes=("dx",),
        scratch=("chosen",),
        infer=_image,
        infer_scratch=lambda dp, _, **__: (_like(dp, "bool"),),
        kernel=_backward,
        flops=lambda dp, _, *, window, **__: elements(dp.shape).times(2 * window**2),
        symbol="max′",
        example="n,2,2,2 window",
        constants=_CASES[:1],
    ),
    Rule(
        name="max_pool_backward_from_input",
        reads=("dp", "x"),
        writes=("dx",),
        scratch=("p", "index", "chosen"),
        infer=_image,
        infer_scratch=lambda dp, *_, **__: (dp, _like(dp, "uint8"), _like(dp, "bool")),
        kernel=_backward_from_input,
        flops=lambda dp, _, *, window, **__: elements(dp.shape).times(3 * window**2 - 1),
        symbol="max′",
        example="n,2,2,2 n,2,4,5",
        constants=_CASES[:1],
        counts_calls=False,
    ),
)
