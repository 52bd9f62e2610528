"""The settings of PyTorch's CUDA allocator, as the variable PYTORCH_CUDA_ALLOC_CONF gives them.

What they mean: https://docs.pytorch.org/docs/stable/notes/cuda.html, under "Memory management".
They are read here as ``AcceleratorAllocatorConfig`` reads them (c10/core/AllocatorConfig.cpp).
"""

import re
from dataclasses import dataclass
from typing import Any, Final, Self

from memprop.errors import InvalidValueError, unknown_name

_MIB: Final = 2**20
_SMALLEST_SPLIT: Final = 20 * _MIB
_INTERVALS: Final = 16
"""Powers of two from 1 MiB on, for each of which the rounding can be set."""
_WITHOUT_EFFECT: Final = (
    "backend",
    "release_lock_on_cudamalloc",
    "pinned_use_cuda_host_register",
    "pinned_num_register_threads",
    "pinned_use_background_threads",
)
"""Settings that PyTorch knows and that change nothing of what is allocated on the device."""


@dataclass(frozen=True, kw_only=True)
class AllocatorSettings:
    """How the allocator is set; each attribute is a setting of PyTorch by the same name.

    Attributes:
        expandable_segments: whether segments grow by mapping memory, instead of being taken whole.
        max_split_size: bytes from which on a block is never split; ``None`` if all may be.
        max_non_split_rounding: bytes by which such a block may be larger than what it is used for.
        roundup_power2_divisions: for each power of two from 1 MiB on, into how many steps it is
            divided, to one of which requests are rounded up; 0 rounds to 512 bytes.
        garbage_collection_threshold: the share of the memory limit from which on unused segments
            are given back before a new one is taken; 0 for never.

    Raises:
        InvalidValueError: a value that PyTorch refuses.

    >>> AllocatorSettings.parse("max_split_size_mb:128,expandable_segments:False").max_split_size
    134217728
    """

    expandable_segments: bool = False
    max_split_size: int | None = None
    max_non_split_rounding: int = 20 * _MIB
    roundup_power2_divisions: tuple[int, ...] = (0,) * _INTERVALS
    garbage_collection_threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.max_split_size is not None and self.max_split_size <= _SMALLEST_SPLIT:
            raise InvalidValueError(
                f"max_split_size_mb must be more than 20, got {self.max_split_size // _MIB}"
            )
        if not 0 <= self.garbage_collection_threshold < 1:
            raise InvalidValueError(
                "garbage_collection_threshold must be more than 0 and less than 1, got "
                f"{self.garbage_collection_threshold}"
            )
        for divisions in self.roundup_power2_divisions:
            if divisions < 0 or divisions & (divisions - 1):
                raise InvalidValueError(
                    f"roundup_power2_divisions must be powers of two, got {divisions}"
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """The settings in a text such as ``"expandable_segments:True,max_split_size_mb:128"``.

        Raises:
            InvalidValueError: a setting that PyTorch does not know, or a value that it refuses.
        """
        given: dict[str, Any] = {}
        for name, value in _pairs(text):
            if name in _WITHOUT_EFFECT:
                continue
            if name not in _READ:
                raise unknown_name("setting of the CUDA allocator", name, _READ)
            key, read = _READ[name]
            try:
                given[key] = read(value)
            except ValueError:
                raise InvalidValueError(f"{name} cannot be {value!r}; {_EXAMPLE}") from None
        return cls(**given)


_EXAMPLE: Final = "write settings as in 'expandable_segments:True,max_split_size_mb:128'"


def _pairs(text: str) -> list[tuple[str, str]]:
    """Names and values; commas inside brackets do not separate settings."""
    pairs = []
    for part in re.split(r",(?![^\[]*\])", text.replace(" ", "")):
        if not part:
            continue
        name, colon, value = part.partition(":")
        if not colon:
            raise InvalidValueError(f"{part!r} has no value; {_EXAMPLE}")
        pairs.append((name, value))
    return pairs


def _flag(value: str) -> bool:
    if value not in ("True", "False"):
        raise ValueError(value)
    return value == "True"


def _mebibytes(value: str) -> int:
    return int(value) * _MIB


def _divisions(value: str) -> tuple[int, ...]:
    """``"4"`` for all sizes, or ``"[256:1,512:2,>:8]"`` by MiB from which on they hold."""
    if not value.startswith("["):
        return (int(value),) * _INTERVALS
    found = [0] * _INTERVALS
    last = 0
    for place, part in enumerate(value.strip("[]").split(",")):
        boundary, _, divisions = part.partition(":")
        if boundary == ">":
            found[last + 1 :] = [int(divisions)] * (_INTERVALS - last - 1)
            continue
        last = _interval(int(boundary))
        found[0 if place == 0 else last : last + 1] = [int(divisions)] * (
            last + 1 if place == 0 else 1
        )
    return tuple(found)


def _interval(mebibytes: int) -> int:
    if mebibytes <= 0 or mebibytes & (mebibytes - 1):
        raise ValueError(mebibytes)
    return min(mebibytes.bit_length() - 1, _INTERVALS - 1)


_READ: Final = {
    "expandable_segments": ("expandable_segments", _flag),
    "max_split_size_mb": ("max_split_size", _mebibytes),
    "max_non_split_rounding_mb": ("max_non_split_rounding", _mebibytes),
    "roundup_power2_divisions": ("roundup_power2_divisions", _divisions),
    "garbage_collection_threshold": ("garbage_collection_threshold", float),
}
"""Settings by the names that PyTorch gives them: attribute, and how its value is read."""
