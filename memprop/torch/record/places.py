"""Where tensors are."""

from typing import Final

import torch

PINNED: Final = "pinned"
"""Memory of the host that a GPU can copy from while it computes."""


def device_of(tensor: torch.Tensor) -> str:
    """The name of a tensor's device; that of pinned memory is a name of its own."""
    device = tensor.device
    if device.type == "cpu" and torch.cuda.is_initialized() and tensor.is_pinned():
        return PINNED
    return str(device)
