"""The Trace of a training step in JAX, from the jaxpr of ``value_and_grad``.

The model. A step is the forward jaxpr of ``jax.vjp``, then the backward one, then the optimizer's
update if there is one. Equations that no result needs are left out, as ``jax.jit`` does. Every
equation, in program order, reads its operands, allocates its results, and frees the values that
are not read again. The caller holds arguments and captured arrays until the end unless they are
donated; it also holds loss, aux and gradients, or new parameters and new state. Calls (``jit``,
``checkpoint``, ``custom_jvp``, ``custom_vjp``) are inlined. The body of a loop appears once; its
buffers are ``workspace``, its stacked results are not. Of several branches the one with the
largest peak is taken. Reshapes and similar operations are views (:mod:`memprop.jax.views`).
Literals take no memory.

The limits of the model. These are the live bytes of running the program equation by equation,
without fusion and without writing results over dying operands. XLA does both, chooses its own
order, and may need scratch that no jaxpr shows (a convolution as a matrix product), so its figure
can be far smaller, or larger. ``trace.about`` has XLA's figure too; memprop does not predict it.
Arrays count whole, even if they are sharded.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from memprop.jax.arguments import canonical
from memprop.jax.compiled import compiled_memory
from memprop.jax.differentiate import backward_of, check_step, forward_of
from memprop.jax.layout import Layout
from memprop.jax.optimizer import check_optimizer, parameters_of, update_of
from memprop.jax.passes import gradient_step, update_step
from memprop.jax.record import record
from memprop.traces.about import About
from memprop.traces.trace import Trace


def simulate(
    fun: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] | None = 0,
    has_aux: bool = False,
    optimizer: Any = None,
    donate: bool = False,
    compile: bool = True,  # noqa: A002 - the word that users look for
) -> Trace:
    """The Trace of ``jax.value_and_grad(fun, argnums, has_aux)(*args)``; nothing is run.

    Arguments to differentiate by are of the category ``parameter``, all others and arrays captured
    by closure ``input``, forward values ``activation``. In the backward pass what depends on the
    loss's cotangent is ``activation_gradient``, what does not (values computed again under
    ``jax.checkpoint``) ``activation``; its results are ``parameter_gradient``.

    With an optimizer the step goes on: ``optimizer.update``, then ``optax.apply_updates``. State is
    there before the step as ``optimizer_state``; new parameters and new state come out of it
    instead of gradients; what is computed in between is ``workspace``.

    >>> mpj.simulate(loss, params, x, y).peak  # doctest: +SKIP
    >>> mpj.simulate(loss, params, x, y, optimizer=optax.adam(1e-3)).peak  # doctest: +SKIP

    Args:
        fun: returns the loss, a real scalar.
        args: pytrees of arrays or of ``jax.ShapeDtypeStruct``, of which nothing is allocated.
        argnums: the arguments to differentiate by, real or complex; ``None`` for all.
        has_aux: whether ``fun`` returns ``(loss, aux)``.
        optimizer: of optax, or with ``init`` and ``update`` like it; one that takes ``value`` and
            ``grad`` is given them.
        donate: whether the old parameters and the old state are given up (``donate_argnums``): each
            is freed when nothing reads it again. For a step with an optimizer.
        compile: also compile the step and put the compiler's figures into ``trace.about``, as
            ``compiled_temp_bytes`` and so on (see :func:`memprop.jax.compiled_memory`).

    Raises:
        InvalidTypeError: an argument is no array, or cannot be differentiated by, or the optimizer
            is none.
        InvalidValueError: ``argnums`` is impossible, there is nothing to differentiate by, the loss
            is no real scalar, ``fun`` cannot be traced or differentiated, holds something that
            memprop does not know how to count, or is not compiled by XLA.
    """
    args = canonical(args)
    check_step(fun, args, argnums, has_aux=has_aux)
    check_optimizer(optimizer, donate=donate)
    layout = _layout(fun, args, argnums, has_aux=has_aux, optimizer=optimizer, donate=donate)
    compiled = {}
    if compile:
        compiled = compiled_memory(
            fun, *args, argnums=argnums, has_aux=has_aux, optimizer=optimizer, donate=donate
        )
    return record(layout).trace(about_step(fun, compiled))


def _layout(
    fun: Callable[..., Any],
    args: Sequence[Any],
    argnums: int | Sequence[int] | None,
    *,
    has_aux: bool,
    optimizer: Any,
    donate: bool,
) -> Layout:
    forward = forward_of(fun, args, argnums, has_aux=has_aux)
    backward = backward_of(forward)
    if optimizer is None:
        return gradient_step(forward, backward)
    aval = forward.program.out_avals[0]
    loss = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
    update = update_of(optimizer, parameters_of(args, argnums), loss)
    return update_step(forward, backward, update, donate=donate)


def about_step(fun: Callable[..., Any], compiled: Mapping[str, int]) -> About:
    """What a trace says of its step; ``compiled`` are figures of the compiler by name."""
    return About(
        framework="jax",
        version=jax.__version__,
        run="simulated",
        device=jax.default_backend(),
        function=getattr(fun, "__name__", type(fun).__name__),
        mode="train",
        more={f"compiled_{name}": size for name, size in compiled.items()},
    )


def trace(fun: Callable[..., Any], *args: Any, **options: Any) -> Trace:
    """The old name of :func:`memprop.jax.simulate`, which runs nothing either.

    .. deprecated:: 0.1
        It warns with a ``FutureWarning`` and will go.

    Args:
        fun: as there.
        args: as there.
        options: as there.

    Raises:
        MempropError: as there.
    """
    warnings.warn(
        "memprop.jax.trace runs nothing and is now called memprop.jax.simulate: use that name, "
        "with the same arguments",
        FutureWarning,
        stacklevel=2,
    )
    return simulate(fun, *args, **options)
