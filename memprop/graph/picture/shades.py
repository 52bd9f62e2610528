"""Bytes as shades: the more, the darker, on a logarithmic scale that is readable in grey print."""

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

_LIGHT: Final = (255, 250, 235)
_DARK: Final = (226, 140, 60)
"""Still light enough for black text."""

PLAIN: Final = "#ffffff"
"""Where there are no bytes."""


class Scale(NamedTuple):
    """The fewest and the most bytes that are shaded."""

    fewest: int
    most: int

    def shade(self, size_bytes: float) -> str:
        """The colour of ``size_bytes``, as ``#rrggbb``."""
        if size_bytes <= 0:
            return PLAIN
        span = math.log(self.most / self.fewest)
        share = math.log(size_bytes / self.fewest) / span if span else 0.0
        mixed = (round(a + (b - a) * share) for a, b in zip(_LIGHT, _DARK, strict=True))
        return "#" + "".join(f"{part:02x}" for part in mixed)

    def steps(self, count: int) -> list[float]:
        """``count`` sizes from the fewest to the most bytes, by equal factors."""
        factor = (self.most / self.fewest) ** (1 / (count - 1))
        return [*(self.fewest * factor**step for step in range(count - 1)), self.most]


def scale_of(sizes: Iterable[int]) -> Scale:
    """The scale that has all of ``sizes`` (bytes) on it."""
    some = [size for size in sizes if size > 0] or [1]
    return Scale(min(some), max(some))
