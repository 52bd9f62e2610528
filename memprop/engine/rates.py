"""What this machine does in a second, for predictions of time: measured, or given by the user."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from memprop.checks import Positive, check_fields, option
from memprop.engine.disk import Disk

_WIDTH: Final = 1024
_FILE_BYTES: Final = 16 << 20
_TIMES: Final = 4


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How fast a machine computes and moves, for the slow-down of :func:`memprop.frontier`.

    Attributes:
        flops: floating-point operations of matrix products in a second.
        disk_bytes: bytes that are written to a folder, or read back, in a second.

    Raises:
        InvalidValueError: a rate is not positive.
    """

    flops: float = option(check=Positive())
    disk_bytes: float = option(check=Positive())

    def __post_init__(self) -> None:
        check_fields(self, "Rates: ")

    def seconds(self, flops: int, moved_bytes: int = 0) -> float:
        """The seconds of a step that computes, and moves, that much."""
        return flops / self.flops + moved_bytes / self.disk_bytes


def measure_rates(folder: str | os.PathLike[str], dtype: str = "float32") -> Rates:
    """Measure, within a second, how fast this machine multiplies, and how fast a folder is.

    Files are written as a step writes them: the system may keep them in memory that is free, and
    bring them to the disk later. Where it has none left, the disk itself sets the pace, which may
    be many times slower.

    Args:
        folder: where a step would store variables; it is made if it is missing.
        dtype: of the products.

    Raises:
        OutputError: the folder cannot be written to; what was written is removed in any case.
    """
    return Rates(flops=_flops(dtype), disk_bytes=_disk_bytes(os.fspath(folder)))


def _flops(dtype: str) -> float:
    a, b = (np.ones((_WIDTH, _WIDTH), dtype) for _ in range(2))
    product = np.empty_like(a)
    least = min(_seconds(partial(np.matmul, a, b, out=product)) for _ in range(_TIMES))
    return 2 * _WIDTH**3 / least


def _disk_bytes(folder: str) -> float:
    disk, array = Disk(folder), np.ones(_FILE_BYTES, np.uint8)
    disk.begin()
    try:
        moves = [
            _seconds(partial(move, number, array))
            for move in (disk.write, disk.read)
            for number in range(_TIMES)
        ]
    finally:
        disk.end()
    return len(moves) * _FILE_BYTES / sum(moves)


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
