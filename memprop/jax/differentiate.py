"""A function and its derivative as two jaxprs, joined by the residuals.

``jax.vjp`` runs the forward pass and returns a pytree, whose leaves are what it saved: traced, that
is the forward jaxpr. Calling that pytree with a cotangent, traced again, is the backward one.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax.core import Tracer

from memprop.errors import InvalidTypeError, InvalidValueError, MempropError
from memprop.jax.arguments import Argument, arguments, check_differentiable, positions
from memprop.jax.forms import Program, program
from memprop.jax.sites import in_library, written

_UNTRACEABLE: Final = tuple(
    getattr(jax.errors, name)
    for name in (
        "ConcretizationTypeError",
        "TracerArrayConversionError",
        "TracerIntegerConversionError",
        "UnexpectedTracerError",
        "NonConcreteBooleanIndexError",
    )
    if hasattr(jax.errors, name)
)


@dataclass(frozen=True, kw_only=True)
class Forward:
    """The forward pass of a function that is to be differentiated.

    Attributes:
        program: from the leaves of the arguments to the outputs and, after them, the residuals.
        arguments: what those leaves are.
        outputs: how many outputs there are: the loss, and the leaves of aux.
        pullback: the pytree, with shapes for leaves, that ``jax.vjp`` returned.
    """

    program: Program
    arguments: tuple[Argument, ...]
    outputs: int
    pullback: Any


def forward_of(
    fun: Callable[..., Any],
    args: Sequence[Any],
    argnums: int | Sequence[int] | None,
    *,
    has_aux: bool,
) -> Forward:
    """Trace ``jax.vjp`` of ``fun`` by the arguments ``argnums``; no array is made.

    Raises:
        InvalidTypeError: an argument is no array, or aux is missing.
        InvalidValueError: ``argnums`` is impossible, or ``fun`` cannot be traced, or cannot be
            differentiated.
    """
    chosen = positions(argnums, len(args))
    named = arguments(fun, args, chosen)
    leaves, tree = jax.tree.flatten(tuple(args))

    def forward(*leaves: Any) -> Any:
        return _vjp(fun, jax.tree.unflatten(tree, leaves), chosen, has_aux=has_aux)

    try:
        found, (outputs, pullback) = traced(jax.make_jaxpr(forward, return_shape=True), leaves)
    except MempropError:
        raise
    except Exception as error:
        jax.eval_shape(fun, *args)  # a mistake in fun itself raises its own error
        raise _not_differentiable(error) from None
    count = len(jax.tree.leaves(outputs))
    return Forward(program=closed(found), arguments=named, outputs=count, pullback=pullback)


def closed(jaxpr: Any) -> Program:
    """What was traced, if it does not depend on tracers of an outer transformation.

    Raises:
        InvalidValueError: it uses an array that is being traced elsewhere.
    """
    found = program(jaxpr)
    if any(isinstance(constant, Tracer) for constant in found.consts):
        raise InvalidValueError(
            "fun uses an array that an earlier call of it left behind, or that another "
            "transformation is tracing: hand it over as an argument, and keep no side effects"
        )
    return found


def _not_differentiable(error: Exception) -> InvalidValueError:
    """What JAX says of a function that it can trace and cannot differentiate."""
    place, message = _innermost(error), (str(error).splitlines() or [type(error).__name__])[0]
    return InvalidValueError(
        f"fun can be traced, but not differentiated{place and f', at {place}'}: {message}"
    )


def _vjp(fun: Callable[..., Any], args: Sequence[Any], chosen: Sequence[int], *, has_aux: bool):
    """What ``fun`` returns, and the pullback to the arguments in the positions ``chosen``."""

    def of_chosen(*values: Any) -> Any:
        replaced = dict(zip(chosen, values, strict=True))
        return fun(*(replaced.get(position, arg) for position, arg in enumerate(args)))

    values = [args[position] for position in chosen]
    if not has_aux:
        return jax.vjp(of_chosen, *values)
    value, pullback, aux = jax.vjp(of_chosen, *values, has_aux=True)
    return (value, aux), pullback


def backward_of(forward: Forward) -> Program:
    """The backward pass: from the residuals and the cotangent of the loss to the gradients.

    Raises:
        InvalidValueError: there is no such pass.
    """
    saved, tree = jax.tree.flatten(forward.pullback)
    loss = forward.program.out_avals[0]
    cotangent = jax.ShapeDtypeStruct(loss.shape, loss.dtype)

    def backward(saved: Any, cotangent: Any) -> Any:
        return jax.tree.unflatten(tree, saved)(cotangent)

    try:
        return program(jax.make_jaxpr(backward)(saved, cotangent))
    except Exception as error:
        raise _not_differentiable(error) from None


def check_step(
    fun: Callable[..., Any],
    args: Sequence[Any],
    argnums: int | Sequence[int] | None,
    *,
    has_aux: bool,
) -> None:
    """Raise unless ``jax.value_and_grad(fun, argnums, has_aux)`` can be taken of ``args``.

    Raises:
        InvalidTypeError: an argument is no array or cannot be differentiated by, or ``fun`` returns
            something else than an array.
        InvalidValueError: ``argnums`` is impossible, there is nothing to differentiate by, the loss
            is no scalar, or ``fun`` cannot be traced.
    """
    check_differentiable(arguments(fun, args, positions(argnums, len(args))))
    _check_loss(fun, args, has_aux=has_aux)


def _check_loss(fun: Callable[..., Any], args: Sequence[Any], *, has_aux: bool) -> None:
    found = traced(lambda *given: jax.eval_shape(fun, *given), args)
    if has_aux:
        if not isinstance(found, tuple) or len(found) != 2:
            raise InvalidTypeError(
                f"with has_aux=True fun must return (loss, aux), got {_described(found)}"
            )
        found = found[0]
    if not isinstance(found, jax.ShapeDtypeStruct):
        raise InvalidTypeError(
            f"fun must return the loss, a scalar, got {_described(found)}: if it returns "
            "(loss, aux), say has_aux=True"
        )
    if found.shape or not jnp.issubdtype(found.dtype, jnp.floating):
        raise InvalidValueError(
            f"the loss must be a real floating scalar, got {_described(found)}: return its mean or "
            "its sum"
        )


def traced(trace: Callable[..., Any], args: Sequence[Any]) -> Any:
    """What ``trace(*args)`` returns.

    Raises:
        InvalidValueError: the function that is traced needs the value of an array.
    """
    try:
        return trace(*args)
    except _UNTRACEABLE as error:
        place = _innermost(error) or "it"
        raise InvalidValueError(
            f"fun cannot be traced, as under jax.jit: {place} needs the value of an array, or uses "
            "one that an earlier call left behind. Use jax.numpy, jax.lax.cond and jax.lax.scan "
            f"instead, and keep no side effects ({type(error).__name__})"
        ) from None
    except ValueError as error:
        if "static arg" not in str(error):
            raise
        raise InvalidValueError(
            "every argument is traced, and jax.jit was told that one is static: bind that one with "
            "functools.partial or a lambda first"
        ) from None


def _innermost(error: BaseException) -> str:
    """The last line of the user's on the way to the error; "" if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not in_library(frame.filename)]
    if not theirs:
        return ""
    return written(theirs[-1].filename, theirs[-1].lineno or 0, theirs[-1].name)


def _described(found: Any) -> str:
    if isinstance(found, jax.ShapeDtypeStruct):
        return f"{found.dtype} of shape {found.shape}"
    return f"a {type(found).__name__} of {len(jax.tree.leaves(found))} arrays"
