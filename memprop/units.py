"""Bytes and seconds as people write and read them.

The only place where KiB exists: inside memprop every size is an integer named ``*_bytes`` and
every duration a float in seconds.
"""

import operator
import re
from typing import SupportsIndex

from memprop.errors import InvalidTypeError, InvalidValueError

_DECIMAL = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BINARY = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_BYTES_PER_UNIT = {"": 1, "byte": 1, "bytes": 1, **_DECIMAL, **_BINARY}
_SECONDS_PER_UNIT = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*")


def parse_bytes(text: str | SupportsIndex) -> int:
    """The number of bytes that ``text`` means; an integer is taken as bytes.

    ``KiB MiB GiB TiB`` are powers of 1024, ``kB MB GB TB`` powers of 1000. A fraction of a byte
    is rounded down.

    Raises:
        InvalidValueError: ``text`` is no size, or is negative.
        InvalidTypeError: ``text`` is neither a string nor an integer.

    >>> parse_bytes("64 MiB"), parse_bytes("64MB"), parse_bytes(10)
    (67108864, 64000000, 10)
    """
    if not isinstance(text, str):
        return _whole_bytes(text)
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].lower() not in _BYTES_PER_UNIT:
        raise InvalidValueError(
            f"{text!r} is no size in bytes: write a number and a unit, such as '64 MiB' or '2 GB'"
        )
    number, unit = match[1], _BYTES_PER_UNIT[match[2].lower()]
    try:
        return int(number) * unit if number.isdigit() else int(float(number) * unit)
    except (OverflowError, ValueError):
        raise InvalidValueError(f"a size of {len(number)} digits is more than can be had") from None


def _whole_bytes(value: SupportsIndex) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        size_bytes = operator.index(value)
    except TypeError:
        raise InvalidTypeError(
            f"a size in bytes must be an integer or a string such as '64 MiB', got {value!r}"
        ) from None
    if size_bytes < 0:
        raise InvalidValueError(f"a size in bytes must not be negative, got {size_bytes}")
    return size_bytes


def format_bytes(size_bytes: float) -> str:
    """``size_bytes`` in the IEC unit that keeps it between 1 and 1024.

    >>> format_bytes(67108864), format_bytes(1000), format_bytes(1536)
    ('64.0 MiB', '1000 B', '1.5 KiB')
    """
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_enough(size_bytes: int) -> str:
    """The least size with one decimal in the unit of :func:`format_bytes` that is no smaller.

    >>> format_bytes(36390996), format_enough(36390996), format_enough(67108864)
    ('34.7 MiB', '34.8 MiB', '64.0 MiB')
    """
    text = format_bytes(size_bytes)
    number, unit = text.split()
    if parse_bytes(text) >= size_bytes:
        return text
    return f"{float(number) + 0.1:.1f} {unit}"


def parse_seconds(text: str | float) -> float:
    """The number of seconds that ``text`` means; a plain number is taken as seconds.

    Raises:
        InvalidValueError: ``text`` is no duration, or not positive.

    >>> parse_seconds("60 s"), parse_seconds("2 min"), parse_seconds(1.5)
    (60.0, 120.0, 1.5)
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None or match[2].lower() not in _SECONDS_PER_UNIT or float(match[1]) <= 0:
        raise InvalidValueError(
            f"{text!r} is no duration: write a positive number with a unit, as '60 s' or '2 min'"
        )
    return float(match[1]) * _SECONDS_PER_UNIT[match[2].lower()]


def format_seconds(seconds: float) -> str:
    """``seconds`` in the unit a person would choose.

    >>> format_seconds(0.0123), format_seconds(75), format_seconds(4e-6)
    ('12.3 ms', '1 min 15 s', '4.0 us')
    """
    if seconds >= 60:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"
