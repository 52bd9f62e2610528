"""The floating-point operations of an equation, from the shapes that it reads and makes."""

from math import prod
from typing import Any, Final

_MOVES: Final = frozenset(
    {
        *("broadcast_in_dim", "concatenate", "copy", "copy_p", "device_put", "dynamic_slice"),
        *("dynamic_update_slice", "empty", "expand_dims", "gather", "iota", "name", "pad"),
        *("optimization_barrier", "pvary", "reshape", "reshard", "rev", "scatter", "select_n"),
        *("sharding_constraint", "slice", "split", "squeeze", "stop_gradient", "transpose"),
        *("bitcast_convert_type", "convert_element_type", "split_with_sizes"),
    }
)
"""Primitives that copy or convert numbers and compute none."""

_UNKNOWN: Final = frozenset(
    {"pallas_call", "custom_call", "ffi_call", "pure_callback", "io_callback"}
)
"""Primitives that may compute anything."""


def flops(equation: Any) -> int | None:
    """Operations of one run of an equation; ``None`` where its shapes do not tell.

    A product of (m, k) and (k, n) takes 2mnk, a convolution 2 for each element of the result and
    of the kernel that it is made with (padding and dilation included), a reduction one for each
    element that it reads. Elementwise primitives take one for each element, copies none.
    """
    name = equation.primitive.name
    if name in _MOVES:
        return 0
    if name in _UNKNOWN:
        return None
    made = max((_size(variable) for variable in equation.outvars), default=0)
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2 * made * prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, numbers = equation.invars[1].aval, equation.params["dimension_numbers"]
        return 2 * made * kernel.size // max(1, kernel.shape[numbers.rhs_spec[0]])
    if name.startswith(("reduce_", "arg", "scatter")):
        return max(_size(operand) for operand in equation.invars)
    return made if _is_elementwise(equation) else None


def _size(atom: Any) -> int:
    return int(getattr(atom.aval, "size", 0))


def _is_elementwise(equation: Any) -> bool:
    """Whether every operand is a number or has the shape of the result, and nothing is called."""
    shapes = {getattr(atom.aval, "shape", ()) for atom in (*equation.invars, *equation.outvars)}
    kinds = {getattr(atom.aval, "dtype", None) for atom in equation.outvars}
    numbers = all(kind is not None and kind.kind in "biufcV" for kind in kinds)
    return len(shapes - {()}) <= 1 and numbers and not equation.params.get("jaxpr")
