"""Checks of numbers that users hand in, with one wording for each mistake."""

import operator

from memprop.errors import InvalidTypeError, InvalidValueError


def check_positive_integer(name: str, value: object) -> int:
    """``value`` as an integer of at least 1.

    Raises:
        InvalidTypeError: not an integer.
        InvalidValueError: less than 1, or True.
    """
    number = _integer(f"{name} must be a positive integer", value)
    if number < 1 or isinstance(value, bool):
        raise InvalidValueError(f"{name} must be a positive integer, got {value!r}")
    return number


def check_integer_from_zero(name: str, value: object) -> int:
    """``value`` as an integer of at least 0.

    Raises:
        InvalidTypeError: not an integer.
        InvalidValueError: negative.
    """
    number = _integer(f"{name} must be an integer of at least 0", value)
    if number < 0:
        raise InvalidValueError(f"{name} must be an integer of at least 0, got {value!r}")
    return number


def _integer(expected: str, value: object) -> int:
    try:
        return operator.index(value)  # pyright: ignore[reportArgumentType] - that is the question
    except TypeError:
        raise InvalidTypeError(f"{expected}, got {value!r}") from None
