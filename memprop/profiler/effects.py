"""The effects of NumPy's functions: what they write, what they do not read, their FLOPs."""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np

WRITE_FIRST: Final = frozenset(
    {np.copyto, np.put, np.place, np.putmask, np.fill_diagonal, np.put_along_axis}
)
"""Functions that write into their first argument and return nothing."""

LOOK_ONLY: Final = frozenset(
    {
        *(np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.min_scalar_type),
        *(np.common_type, np.iscomplexobj, np.isrealobj, np.may_share_memory, np.shares_memory),
        *(np.array_repr, np.array_str, np.array2string),
    }
)
"""Functions that compute nothing from the values of an array, or only print them."""

FROM_SHAPE: Final = frozenset({np.zeros_like, np.ones_like, np.empty_like, np.full_like})
"""Functions that make an array and read no more than the shape and dtype of another."""


@cache
def position_of_out(function: Callable[..., Any]) -> int | None:
    """Where ``out`` stands among the positional arguments; ``None`` if it does not."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return {"dot": 2}.get(function.__name__)  # compiled, and without a signature before 2.4
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return names.index("out") if "out" in names and not variadic else None


def flops(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    read: Sequence[np.ndarray],
    made: Sequence[np.ndarray],
) -> int:
    """Operations of one call.

    2mnk for a product of (m, k) and (k, n), and so for stacks of them; for einsum twice the number
    of all index values (once, if it has one operand). Anything else is counted as one for each
    element of the largest array that it reads or makes, which is right for elementwise functions
    and sums, and too little for a sort or a decomposition.

    Args:
        function: what is called.
        arguments: its positional arguments.
        read: the arrays that it reads.
        made: the arrays that it makes or writes.
    """
    results = sum(array.size for array in made)
    if function is np.einsum and arguments and isinstance(arguments[0], str):
        counted = _einsum(arguments[0], arguments[1:])
        if counted is not None:
            return counted
    if function in _PRODUCTS and len(read) >= 2 and read[0].ndim and read[1].ndim:
        return 2 * max(1, results) * read[0].shape[-1]
    if function is np.tensordot and len(read) == 2 and results:
        return 2 * math.isqrt(read[0].size * read[1].size * results)
    return max([1, *(array.size for array in (*read, *made))])


_PRODUCTS: Final = frozenset({np.matmul, np.dot, np.inner, np.vdot, np.ndarray.dot})


def _einsum(subscripts: str, operands: Sequence[Any]) -> int | None:
    """Twice the product of all extents; ``None`` where an ellipsis hides some of them."""
    terms = subscripts.replace(" ", "").split("->")[0].split(",")
    if "." in subscripts:
        return None
    extent = {
        index: size
        for term, operand in zip(terms, operands, strict=False)
        for index, size in zip(term, np.shape(operand), strict=True)
    }
    return math.prod(extent.values()) * (2 if len(terms) > 1 else 1)
