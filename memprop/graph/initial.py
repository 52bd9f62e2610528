"""How parameters begin."""

from collections.abc import Callable
from typing import Any

import numpy as np

Initial = Callable[[np.random.Generator, np.ndarray], None]
"""Fills an array in place."""


def zeros(generator: np.random.Generator, array: np.ndarray) -> None:
    """All zero: biases, and the shifts of norms."""
    del generator
    array.fill(0)


def ones(generator: np.random.Generator, array: np.ndarray) -> None:
    """All one: the gains of norms."""
    del generator
    array.fill(1)


def normal(deviation: float) -> Initial:
    """Normal with mean zero and this standard deviation."""

    def fill(generator: np.random.Generator, array: np.ndarray) -> None:
        kind: Any = array.dtype.type
        generator.standard_normal(dtype=kind, out=array)
        array *= deviation

    return fill
