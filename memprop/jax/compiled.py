"""What XLA says of the memory of the compiled step."""

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, Final

import jax

from memprop.errors import InvalidValueError
from memprop.jax.arguments import canonical, positions
from memprop.jax.differentiate import check_step
from memprop.jax.optimizer import check_optimizer, parameters_of, state_of, updating

_FIELDS: Final = MappingProxyType(
    {
        "argument_bytes": "argument_size_in_bytes",
        "output_bytes": "output_size_in_bytes",
        "alias_bytes": "alias_size_in_bytes",
        "temp_bytes": "temp_size_in_bytes",
    }
)


def compiled_memory(
    fun: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] | None = 0,
    has_aux: bool = False,
    optimizer: Any = None,
    donate: bool = False,
) -> dict[str, int]:
    """The compiler's own figures for ``jax.jit(jax.value_and_grad(fun))``, in bytes.

    It is compiled for the default backend, and not run. From ``compiled.memory_analysis()``:

    - ``argument_bytes``: the arguments; those that nothing reads are left out by ``jax.jit``;
    - ``output_bytes``: loss, aux and gradients, or with an optimizer loss, aux, new parameters and
      new state (on some backends with a pointer for each);
    - ``alias_bytes``: outputs that take the buffer of an argument; none without donation;
    - ``temp_bytes``: all that lives between the two;
    - ``total_bytes``: what the executable needs, argument + output - alias + temp.

    What a backend does not report is missing.

    >>> mpj.compiled_memory(loss, params, x, y)["temp_bytes"]  # doctest: +SKIP

    Args:
        fun: returns the loss, a scalar.
        args: pytrees of arrays or of ``jax.ShapeDtypeStruct``.
        argnums: the arguments to differentiate by; ``None`` for all.
        has_aux: whether ``fun`` returns ``(loss, aux)``.
        optimizer: of optax: its update is part of the step.
        donate: whether the step is given the buffers of parameters and state for its results.

    Raises:
        InvalidTypeError: an argument is no array, or cannot be differentiated by.
        InvalidValueError: ``argnums`` is impossible, the loss is no scalar, or ``fun`` cannot be
            traced, or is too large for the backend to compile.
    """
    args = canonical(args)
    check_step(fun, args, argnums, has_aux=has_aux)
    check_optimizer(optimizer, donate=donate)
    chosen = positions(argnums, len(args))
    if optimizer is None:
        return figures(jax.jit(jax.value_and_grad(fun, chosen, has_aux)), args)
    step = jax.jit(
        _updated(fun, args, argnums, has_aux=has_aux, optimizer=optimizer),
        donate_argnums=(0, 1) if donate else (),
    )
    state = state_of(optimizer, parameters_of(args, argnums))
    others = [arg for position, arg in enumerate(args) if position not in chosen]
    return figures(step, ([args[position] for position in chosen], state, others))


def _updated(
    fun: Callable[..., Any],
    args: Sequence[Any],
    argnums: int | Sequence[int] | None,
    *,
    has_aux: bool,
    optimizer: Any,
) -> Callable[..., Any]:
    """A step of ``(chosen arguments, state, other arguments)``."""
    chosen = positions(argnums, len(args))
    rest = [position for position in range(len(args)) if position not in chosen]

    def step(differentiated: Sequence[Any], state: Any, others: Sequence[Any]) -> Any:
        given = dict(zip((*chosen, *rest), (*differentiated, *others), strict=True))
        all_args = [given[position] for position in range(len(args))]
        value, grads = jax.value_and_grad(fun, chosen, has_aux)(*all_args)
        loss = value[0] if has_aux else value
        parameters = parameters_of(all_args, argnums)
        grads = jax.tree.unflatten(jax.tree.structure(parameters), jax.tree.leaves(grads))
        return value, updating(optimizer)(grads, state, parameters, loss)

    return step


def figures(step: Any, args: Sequence[Any]) -> dict[str, int]:
    """What the compiler says of a jitted function, in bytes.

    Raises:
        InvalidValueError: it is not compiled.
    """
    try:
        stats = step.lower(*args).compile().memory_analysis()
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:
        raise InvalidValueError(
            f"XLA does not compile this step for {jax.default_backend()}: "
            f"{(str(error).splitlines() or [''])[0]}. compile=False needs no compiler"
        ) from None
    if stats is None:
        return {}
    found = {name: int(getattr(stats, field)) for name, field in _FIELDS.items()}
    return {**found, "total_bytes": sum(found.values()) - 2 * found["alias_bytes"]}
