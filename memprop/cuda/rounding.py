"""Integers rounded as allocators and kernels round them."""


def ceil_div(number: int, unit: int) -> int:
    """How many units hold a number.

    >>> ceil_div(9, 4)
    3
    """
    return -(-number // unit)


def round_up(number: int, unit: int) -> int:
    """The next multiple of a unit.

    >>> round_up(9, 4)
    12
    """
    return ceil_div(number, unit) * unit


def last_power_of_two(number: int) -> int:
    """The largest power of two that is not above a number; 1 for those below 1.

    >>> last_power_of_two(9)
    8
    """
    return 1 << (max(number, 1).bit_length() - 1)
