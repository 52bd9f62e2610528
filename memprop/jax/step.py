"""The Trace of a training step in JAX, from the jaxpr of ``value_and_grad``.

The model. A step is the forward jaxpr of ``jax.vjp`` and, after it, the backward one; what neither
the loss nor a gradient needs is left out, as ``jax.jit`` does it. Every equation, in program order,
reads its operands, allocates its results, and frees what is not read again. Arguments and captured
arrays are held by the caller to the end, as are loss, aux and gradients. Calls (``jit``,
``checkpoint``, ``custom_jvp``, ``custom_vjp``) are opened; the body of a loop stands once, its
buffers are ``workspace`` beside the stacked results; of branches the one with the largest peak is
taken. Reshapes and the like are views (:mod:`memprop.jax.views`). Literals take nothing.

What it is not. These are the live bytes of running the program equation by equation, without fusion
and without writing results over dying operands. XLA does both, chooses an order of its own, and may
need scratch that no jaxpr shows (a convolution as a matrix product): its figure can be far less, or
more. It stands beside in ``trace.about``, and is no prediction of memprop's. Arrays count whole,
however they are sharded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from memprop.jax.compiled import compiled_memory
from memprop.jax.differentiate import backward_of, check_step, forward_of
from memprop.jax.passes import passes
from memprop.jax.record import record
from memprop.traces.trace import Trace


def trace(
    fun: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] | None = 0,
    has_aux: bool = False,
    compile: bool = True,  # noqa: A002 - the word that users look for
) -> Trace:
    """The Trace of ``jax.value_and_grad(fun, argnums, has_aux)(*args)``; nothing is run.

    Arguments to differentiate by are of the category ``parameter``, all others and arrays captured
    by closure ``input``, forward values ``activation``. In the backward pass what depends on the
    loss's cotangent is ``activation_gradient``, what does not (values computed again under
    ``jax.checkpoint``) ``activation``; its results are ``parameter_gradient``.

    Args:
        fun: returns the loss, a scalar.
        args: pytrees of arrays or of ``jax.ShapeDtypeStruct``, of which nothing is allocated.
        argnums: the arguments to differentiate by; ``None`` for all.
        has_aux: whether ``fun`` returns ``(loss, aux)``.
        compile: also compile the step and put the compiler's figures into ``trace.about``, as
            ``compiled_temp_bytes`` and so on (see :func:`memprop.jax.compiled_memory`).

    Raises:
        InvalidTypeError: an argument is no array, or cannot be differentiated by.
        InvalidValueError: ``argnums`` is impossible, there is nothing to differentiate by, the loss
            is no scalar, ``fun`` cannot be traced, or XLA does not compile the step.
    """
    check_step(fun, args, argnums, has_aux=has_aux)
    forward = forward_of(fun, args, argnums, has_aux=has_aux)
    recorder = record(passes(forward, backward_of(forward)))
    about: dict[str, Any] = {
        "framework": "jax",
        "version": jax.__version__,
        "platform": jax.default_backend(),
        "function": getattr(fun, "__name__", type(fun).__name__),
    }
    if compile:
        figures = compiled_memory(fun, *args, argnums=argnums, has_aux=has_aux)
        about |= {f"compiled_{name}": size for name, size in figures.items()}
    return recorder.trace(about)
