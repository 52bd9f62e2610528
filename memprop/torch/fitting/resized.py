"""Inputs of another batch, where a program says nothing of how to make them."""

from typing import Any, Final

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from memprop.errors import InvalidValueError

_MOST_BYTES: Final = 2**26
"""What is larger has no numbers: a simulation rarely asks for those of samples."""


def batch_of(inputs: Any) -> int:
    """The batch of some inputs: the first dimension of the first tensor that has one.

    Raises:
        InvalidValueError: there is none.
    """
    for leaf in tree_leaves(inputs):
        if isinstance(leaf, torch.Tensor) and leaf.dim() > 0:
            return len(leaf)
    raise InvalidValueError("the inputs have no tensor whose first dimension is the batch")


def resized(inputs: Any, batch: int, to: int) -> Any:
    """Inputs like these for another batch, by repeating samples or leaving some out.

    Args:
        inputs: tensors in tuples, lists and dicts; those whose first dimension is ``batch`` are
            changed.
        batch: as they are.
        to: as they shall be.
    """

    def of(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dim() == 0 or len(tensor) != batch or to == batch:
            return tensor
        needs = tensor.requires_grad
        if tensor.nbytes * to > _MOST_BYTES * batch or tensor.device.type == "meta":
            shape = (to, *tensor.shape[1:])
            return torch.empty(shape, dtype=tensor.dtype, device="meta").requires_grad_(needs)
        places = torch.arange(to, device=tensor.device) % batch
        return tensor.detach()[places].requires_grad_(needs)

    return tree_map_only(torch.Tensor, of, inputs)
