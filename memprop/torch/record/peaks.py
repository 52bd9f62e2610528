"""What CUDA's own allocator counts in a step that is run."""

import torch


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
