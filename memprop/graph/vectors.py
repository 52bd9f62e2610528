"""x *= a and y += a x in place: one pass over memory, without scratch.

NumPy has no y += a x: it needs a product in scratch memory and a sum. The BLAS has one (level 1;
Lawson et al. 1979), and SciPy hands it on, at half of what calling a function of NumPy costs.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Final

import numpy as np

from memprop.errors import GraphError
from memprop.graph.blocks import parts
from memprop.graph.rules import Call

Scalar = float | np.ndarray
"""A number, or an array of shape () whose number is read when the call is made."""

PIECE: Final = 8192
"""Elements that a call of y += a x passes over.

SciPy brings a BLAS, and threads, of its own. Both that and NumPy's keep their threads awake for a
while after a call, and so take the cores from one another: with two threads on two cores, a product
of 512 x 512 and then y += a x over 2^18 elements took 8.0 ms instead of 2.6. OpenBLAS calls up no
thread for at most 10,000 elements, and for x *= a for at most 2^20.
"""

REACH: Final = 1 << 20
"""Elements of an array that SciPy is shown at a time: it counts them in 32 bits."""


def scale(a: Scalar, x: np.ndarray) -> Iterator[Call]:
    """Calls that make x = a x, of a contiguous ``x``."""
    scal, _ = _functions(x.dtype)
    for (part,) in parts(REACH, x):
        yield partial(scal, a, part)


def add_scaled(a: Scalar, x: np.ndarray, y: np.ndarray) -> Iterator[Call]:
    """Calls that make y = y + a x, of contiguous arrays of one size and dtype."""
    _, axpy = _functions(y.dtype)
    for source, target in parts(REACH, x, y):
        for start in range(0, source.size, PIECE):
            # An offset instead of a view: the views for a million elements take 40 KB.
            place = (start, 1, start, 1) if start else ()
            yield partial(axpy, source, target, min(PIECE, source.size - start), a, *place)


@cache
def _functions(dtype: np.dtype) -> tuple[Callable[..., object], Callable[..., object]]:
    """The BLAS's scal and axpy for ``dtype``."""
    # Loading takes 0.1 s, and a prediction does not need it: so it waits for a step that does.
    from scipy.linalg import get_blas_funcs

    if dtype.name not in {"float32", "float64"}:  # of others SciPy would change a copy
        raise GraphError(f"updates are computed in float32 or float64, not in {dtype}")
    scal, axpy = get_blas_funcs(("scal", "axpy"), dtype=dtype)
    return scal, axpy
