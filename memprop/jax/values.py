"""Values for abstract arrays: their shape, dtype and size in bytes."""

from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from memprop.jax.program import Value


def value_of(aval: Any, name: str, *, scratch: bool = False, base: Value | None = None) -> Value:
    """A value of this abstract type; what is no array (a token) takes no bytes.

    Keys of ``jax.random`` count as the integers they consist of.
    """
    if not hasattr(aval, "dtype"):
        return Value(name, (), str(aval), 0, scratch, base)
    shape = tuple(aval.shape)
    return Value(name, shape, str(aval.dtype), _size(shape, aval.dtype), scratch, base)


def _size(shape: tuple[int, ...], dtype: Any) -> int:
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        data = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(shape, dtype))
        shape, dtype = data.shape, data.dtype
    return prod(shape) * dtype.itemsize
