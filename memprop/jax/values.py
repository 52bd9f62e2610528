"""Values for abstract arrays: their shape, dtype and size in bytes."""

from math import prod
from typing import Any

from memprop.jax.program import Value


def value_of(aval: Any, name: str, *, scratch: bool = False, base: Value | None = None) -> Value:
    """A value of this abstract type; what is no array (a token) takes no bytes.

    Keys of ``jax.random`` count as the integers they consist of: such is their dtype's item size.
    """
    if not hasattr(aval, "dtype"):
        return Value(name, (), str(aval), 0, scratch, base)
    shape = tuple(aval.shape)
    size = prod(shape) * aval.dtype.itemsize
    return Value(name, shape, str(aval.dtype), size, scratch, base)
