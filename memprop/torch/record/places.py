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


class CudaPeaks:
    """The peaks that CUDA's allocator counts from now on; there are none on another device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def since(self) -> dict[str, int]:
        """Bytes allocated and reserved at most, by the names that a trace has for them."""
        if self._device.type != "cuda":
            return {}
        return {
            "allocated_peak": torch.cuda.max_memory_allocated(self._device),
            "reserved_peak": torch.cuda.max_memory_reserved(self._device),
        }
