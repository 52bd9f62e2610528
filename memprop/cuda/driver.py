"""Where the CUDA driver puts segments: addresses decide between free blocks of one size."""

from typing import Final

from memprop.cuda.rounding import round_up

_CHUNK: Final = 32 * 2**20
_TOP: Final = 2**47


class Driver:
    """Gives out addresses as ``cudaMalloc`` was seen to do.

    On an H100 (driver of CUDA 13) it takes chunks of a multiple of 32 MiB, each below the one
    before, and serves later segments that are smaller from what is left of them. Where code and
    libraries are loaded between two segments it leaves holes, which cannot be foretold.
    """

    def __init__(self) -> None:
        self._lowest = _TOP
        self._left: list[tuple[int, int]] = []
        """What is left of chunks: bytes and address."""

    def take(self, size: int) -> int:
        """The address of a new segment of ``size`` bytes."""
        fitting = [place for place, (left, _) in enumerate(self._left) if left >= size]
        if fitting:
            left, address = self._left.pop(fitting[0])
        else:
            left = round_up(size, _CHUNK)
            self._lowest -= left
            address = self._lowest
        if left > size:
            self._left.append((left - size, address + size))
        return address

    def give_back(self, address: int, size: int) -> None:
        """A segment is given back."""
        self._left.append((size, address))
