"""Results that lie in the storage of an operand.

A reshape, a name, a barrier move no byte: XLA makes bitcasts of them or nothing at all. Nor does a
sharding, as arrays count whole wherever their parts are. They are values of their own in a jaxpr,
and residuals by themselves, but their bytes count once. A transposition or a broadcast to more
elements is a copy.
"""

from collections.abc import Sequence
from typing import Any, Final

import jax.numpy as jnp

from memprop.jax.forms import stays_put
from memprop.jax.program import Operand, Value

_ALWAYS: Final = frozenset(
    {
        "name",
        "reshape",
        "squeeze",
        "optimization_barrier",
        "sharding_constraint",
        "layout_constraint",
        "reshard",
        "pvary",
        "freeze",
    }
)


def base(equation: Any, operands: Sequence[Operand], number: int) -> Value | None:
    """The operand in whose storage result ``number`` of ``equation`` lies; ``None`` if in none."""
    if not _is_view(equation):
        return None
    operand = operands[number]
    return None if operand is None or operand.literal else operand


def _is_view(equation: Any) -> bool:
    name = equation.primitive.name
    if name == "broadcast_in_dim":
        return _same_size(equation)
    return name in _ALWAYS or (name == "device_put" and stays_put(equation))


def is_mark(equation: Any) -> bool:
    """Whether the equation rounds to the precision that its operand has, and so does nothing.

    ``jax.checkpoint`` marks in this way what it saves.
    """
    if equation.primitive.name != "reduce_precision":
        return False
    kept = jnp.finfo(equation.invars[0].aval.dtype)
    asked = equation.params["exponent_bits"], equation.params["mantissa_bits"]
    return asked == (kept.nexp, kept.nmant)


def _same_size(equation: Any) -> bool:
    """Whether nothing but axes of length 1 is added."""
    return equation.invars[0].aval.size == equation.outvars[0].aval.size
