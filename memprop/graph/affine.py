"""Numbers that are affine in the batch size: ``constant + per_sample * batch``.

A shape names the batch size at most once, so every size in a graph is such a number and a
prediction made once holds for all batch sizes.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal, NamedTuple

BATCH: Final = "batch"
"""The symbol that stands for the batch size in a shape."""

Dim = int | Literal["batch"]
Shape = tuple[Dim, ...]


class Affine(NamedTuple):
    """``constant + per_sample * batch``, in whatever unit the context says."""

    constant: int
    per_sample: int

    def at(self, batch: int) -> int:
        """The value for one batch size."""
        return self.constant + self.per_sample * batch

    def plus(self, other: "Affine") -> "Affine":
        """The sum of two such numbers."""
        return Affine(self.constant + other.constant, self.per_sample + other.per_sample)

    def times(self, factor: int) -> "Affine":
        """This number ``factor`` times."""
        return Affine(self.constant * factor, self.per_sample * factor)


def total(numbers: Iterable[Affine]) -> Affine:
    """The sum of such numbers."""
    constant = per_sample = 0
    for one, each in numbers:
        constant += one
        per_sample += each
    return Affine(constant, per_sample)


@lru_cache(maxsize=1 << 12)
def elements(shape: Shape) -> Affine:
    """How many elements an array of this shape has.

    >>> elements(("batch", 3)), elements((2, 3))
    (Affine(constant=0, per_sample=3), Affine(constant=6, per_sample=0))
    """
    count = math.prod(dim for dim in shape if dim != BATCH)
    return Affine(0, count) if BATCH in shape else Affine(count, 0)
