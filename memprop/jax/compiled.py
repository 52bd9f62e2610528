"""What XLA says of the memory of the compiled step."""

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, Final

import jax

from memprop.errors import InvalidValueError
from memprop.jax.arguments import positions
from memprop.jax.differentiate import check_step

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
) -> dict[str, int]:
    """The compiler's own figures for ``jax.jit(jax.value_and_grad(fun))``, in bytes.

    It is compiled for the default backend, and not run. From ``compiled.memory_analysis()``:

    - ``argument_bytes``: the arguments; those that nothing reads are left out by ``jax.jit``;
    - ``output_bytes``: loss, aux and gradients (on some backends with a pointer for each);
    - ``alias_bytes``: outputs that take the buffer of an argument; none without donation;
    - ``temp_bytes``: all that lives between the two;
    - ``total_bytes``: what the executable needs, argument + output - alias + temp.

    What a backend does not report is missing.

    Args:
        fun: returns the loss, a scalar.
        args: pytrees of arrays or of ``jax.ShapeDtypeStruct``.
        argnums: the arguments to differentiate by; ``None`` for all.
        has_aux: whether ``fun`` returns ``(loss, aux)``.

    Raises:
        InvalidTypeError: an argument is no array, or cannot be differentiated by.
        InvalidValueError: ``argnums`` is impossible, the loss is no scalar, or ``fun`` cannot be
            traced, or is too large for the backend to compile.
    """
    check_step(fun, args, argnums, has_aux=has_aux)
    step = jax.jit(jax.value_and_grad(fun, positions(argnums, len(args)), has_aux))
    try:
        stats = step.lower(*args).compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        raise InvalidValueError(
            f"XLA does not compile this step for {jax.default_backend()}: "
            f"{str(error).splitlines()[0]}. memprop.jax.trace(..., compile=False) needs no compiler"
        ) from None
    if stats is None:
        return {}
    found = {name: int(getattr(stats, field)) for name, field in _FIELDS.items()}
    return {**found, "total_bytes": sum(found.values()) - 2 * found["alias_bytes"]}
