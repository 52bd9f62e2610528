"""The floating-point operations of one call of an operator."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


def flops_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
    """FLOPs of a call: matrix products, convolutions and attention by PyTorch's own formulas.

    Any other operator counts one for each element that it makes. One that returns nothing, as an
    optimizer's update of many tensors, counts one for each element of its first argument.
    """
    formula = flop_registry.get(func._overloadpacket)
    if formula is not None:
        return int(formula(*args, **kwargs, out_val=result))
    if isinstance(result, torch.Tensor):
        return result.numel()
    made = args[:1] if result is None else result
    return sum(found.numel() for found in tree_leaves(made) if isinstance(found, torch.Tensor))
