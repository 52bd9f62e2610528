"""The arguments of a function that is to be differentiated, leaf by leaf, and their checks.

An argument is a pytree; what is counted and named is its leaves: ``params['w1']``.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memprop.errors import InvalidTypeError, InvalidValueError


@dataclass(frozen=True)
class Argument:
    """A leaf of an argument.

    Attributes:
        name: the parameter of the function, and the path in it.
        aval: its shape and dtype.
        differentiated: whether the function is differentiated by it.
    """

    name: str
    aval: jax.ShapeDtypeStruct
    differentiated: bool


def positions(argnums: int | Sequence[int] | None, count: int) -> tuple[int, ...]:
    """``argnums`` as positions from 0 to ``count - 1``, in order; ``None`` stands for all.

    Raises:
        InvalidTypeError: it is neither an integer nor a sequence of integers.
        InvalidValueError: there is no such argument, or one is named twice, or none at all.
    """
    if argnums is None:
        argnums = range(count)
    given = tuple(argnums) if isinstance(argnums, Sequence) else (argnums,)
    if not all(isinstance(position, Integral) for position in given):
        raise InvalidTypeError(f"argnums must be an integer or integers, got {argnums!r}")
    if any(not -count <= position < count for position in given):
        raise InvalidValueError(f"argnums={argnums!r}, but fun is given {count} arguments")
    found = tuple(sorted(int(position) % count for position in given))
    if not found or len(set(found)) < len(found):
        raise InvalidValueError(f"argnums must name each argument once, and one at least: {given}")
    return found


def arguments(
    fun: Callable[..., Any], args: Sequence[Any], chosen: Sequence[int]
) -> tuple[Argument, ...]:
    """The leaves of ``args``, in the order of ``jax.tree.leaves(args)``.

    Raises:
        InvalidTypeError: ``fun`` cannot be called, or a leaf is no array.
    """
    if not callable(fun):
        raise InvalidTypeError(f"fun must be a function of arrays, got {fun!r}")
    return tuple(
        Argument(name + jax.tree_util.keystr(path), _aval(name, path, leaf), position in chosen)
        for position, (name, arg) in enumerate(zip(_names(fun, args), args, strict=True))
        for path, leaf in jax.tree_util.tree_leaves_with_path(arg)
    )


def check_differentiable(found: Sequence[Argument]) -> None:
    """Raise unless there is something to differentiate by, and all of it is real or complex.

    Raises:
        InvalidValueError: the arguments to differentiate by hold no array.
        InvalidTypeError: one is of integers, booleans or keys.
    """
    chosen = [argument for argument in found if argument.differentiated]
    if not chosen:
        raise InvalidValueError(
            "there is nothing to differentiate: the arguments that argnums chooses hold no array"
        )
    for argument in chosen:
        if not jnp.issubdtype(argument.aval.dtype, jnp.inexact):
            raise InvalidTypeError(
                f"{argument.name} is {argument.aval.dtype}, but only real and complex arrays can "
                "be differentiated by: leave it out of argnums, or out of that argument"
            )


def canonical(args: Sequence[Any]) -> tuple[Any, ...]:
    """``args`` with the dtypes that JAX gives to shapes: 64 bits only where they are enabled."""
    return jax.tree.map(_canonical, tuple(args))


def _canonical(leaf: Any) -> Any:
    if not isinstance(leaf, jax.ShapeDtypeStruct) or not isinstance(leaf.dtype, np.dtype):
        return leaf
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
    return (
        leaf
        if dtype == leaf.dtype
        else jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=leaf.sharding)
    )


def _names(fun: Callable[..., Any], args: Sequence[Any]) -> list[str]:
    """The names that the function's signature gives to positional arguments."""
    try:
        bound = inspect.signature(fun).bind(*args).arguments
    except ValueError:  # a builtin without a signature
        return [f"args[{position}]" for position in range(len(args))]
    except TypeError as error:
        raise InvalidTypeError(
            f"fun cannot be called with the {len(args)} arguments given: {error}"
        ) from None
    parameters = inspect.signature(fun).parameters
    names: list[str] = []
    for name, value in bound.items():
        many = parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
        names += [f"{name}[{i}]" for i in range(len(value))] if many else [name]
    return names


def _aval(name: str, path: Any, leaf: Any) -> jax.ShapeDtypeStruct:
    if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    try:
        return jax.eval_shape(lambda x: x, leaf)
    except TypeError:
        raise InvalidTypeError(
            f"{name}{jax.tree_util.keystr(path)} is {type(leaf).__name__}, not an array: bind it "
            "with functools.partial or a lambda before fun is traced"
        ) from None
