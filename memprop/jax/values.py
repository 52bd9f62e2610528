"""Values for abstract arrays: their shape, dtype and size in bytes."""

from math import prod
from typing import Any

from memprop.jax.forms import copies, is_on_host
from memprop.jax.program import Scope, Value


def value_of(
    aval: Any,
    name: str,
    *,
    scope: Scope | None = None,
    scratch: bool = False,
    base: Value | None = None,
) -> Value:
    """A value of this abstract type; what is no array (a token) takes no bytes.

    Keys of ``jax.random`` count as the integers they consist of: such is their dtype's item size.
    Inside of a ``shard_map`` the shape is that of a shard, the bytes are those of all of them. What
    lies in the host's memory takes no bytes of the device's.
    """
    if not hasattr(aval, "dtype"):
        return Value(name, (), str(aval), 0, scratch, base)
    shape = tuple(aval.shape)
    size = 0 if is_on_host(aval) else prod(shape) * aval.dtype.itemsize
    if scope is not None and scope.axes:
        size *= copies(aval, scope.axes, tracked=scope.tracked)
    return Value(name, shape, str(aval.dtype), size, scratch, base)
