"""What memory depends on, GPU by GPU: one table, with its sources."""

from dataclasses import dataclass
from typing import Final

from memprop.errors import unknown_name

_GIB: Final = 2**30
CONTEXT_BYTES: Final = 2**29
"""About what CUDA's context takes of a GPU, outside the allocator: the driver decides, and how many
kernels were loaded. It is an estimate and was not measured."""


@dataclass(frozen=True, kw_only=True)
class GPU:
    """A GPU, as far as a step's memory depends on it.

    Attributes:
        name: as users write it.
        capability: the compute capability (https://developer.nvidia.com/cuda-gpus).
        multiprocessors: how many there are (NVIDIA's architecture whitepapers).
        memory: bytes that ``torch.cuda.get_device_properties`` gives, about.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    memory: int

    @property
    def threads_per_multiprocessor(self) -> int:
        """The most threads that a multiprocessor holds (CUDA programming guide, table 27)."""
        return {(7, 5): 1024, (8, 6): 1536, (8, 9): 1536, (12, 0): 1536}.get(self.capability, 2048)

    @property
    def prefers_cudnn_attention(self) -> bool:
        """Whether cuDNN's attention is tried first.

        ``check_prefer_cudnn_attention`` in sdp_utils.cpp: on Hopper and on Blackwell for servers.
        """
        return self.capability in ((9, 0), (10, 0))

    @property
    def widest_cudnn_head(self) -> int:
        """The widest head that cuDNN's attention takes (``check_cudnn_tensor_shapes``)."""
        return 256 if self.capability == (9, 0) else 128

    @property
    def cublas_workspace(self) -> int:
        """Bytes that cuBLAS keeps for each stream.

        ``parseChosenWorkspaceSize`` in aten/src/ATen/cuda/CublasHandlePool.cpp: 32 MiB on Hopper
        and Blackwell, else 4096 KiB twice and 16 KiB eight times.
        """
        return 4096 * 8 * 1024 if self.capability >= (9, 0) else 2 * 4096 * 1024 + 8 * 16 * 1024


GPUS: Final = {
    gpu.name: gpu
    for gpu in (
        GPU(name="h100", capability=(9, 0), multiprocessors=132, memory=85 * 10**9),
        GPU(name="h200", capability=(9, 0), multiprocessors=132, memory=150 * 10**9),
        GPU(name="b200", capability=(10, 0), multiprocessors=148, memory=191 * 10**9),
        GPU(name="a100", capability=(8, 0), multiprocessors=108, memory=85 * 10**9),
        GPU(name="a100-40gb", capability=(8, 0), multiprocessors=108, memory=42 * 10**9),
        GPU(name="a10", capability=(8, 6), multiprocessors=72, memory=24 * 10**9),
        GPU(name="rtx3090", capability=(8, 6), multiprocessors=82, memory=25 * 10**9),
        GPU(name="l4", capability=(8, 9), multiprocessors=58, memory=23 * 10**9),
        GPU(name="l40s", capability=(8, 9), multiprocessors=142, memory=47 * 10**9),
        GPU(name="rtx4090", capability=(8, 9), multiprocessors=128, memory=25 * 10**9),
        GPU(name="rtx5090", capability=(12, 0), multiprocessors=170, memory=33 * 10**9),
        GPU(name="v100", capability=(7, 0), multiprocessors=80, memory=16 * _GIB),
        GPU(name="t4", capability=(7, 5), multiprocessors=40, memory=15 * 10**9),
    )
}


def gpu_of(name: str) -> GPU:
    """The GPU of a name, as "h100".

    Raises:
        UnknownNameError: it is not in the table.
    """
    if name not in GPUS:
        raise unknown_name("GPU", name, GPUS)
    return GPUS[name]
