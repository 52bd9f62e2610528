"""Whether blocks compute in their second run what they computed in their first.

A checkpoint frees the tensors that backward reads and has them computed again. Of each a
checksum is kept, to find blocks that compute something else the second time.
"""

import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.utils import checkpoint

from memprop.errors import ScheduleError

_WHOLE_STEPS: Final = 3
_SAMPLE: Final = 1024
_REST: Final = 16
"""On other devices than the CPU a comparison waits for the device: one step in so many has them."""

WHOLE: Final = "whole"
SAMPLE: Final = "sample"
NOTHING: Final = "nothing"


def extent(step: int, device: torch.device) -> str:
    """What is compared of each tensor.

    Args:
        step: the number of the step since the module was planned, from 0.
        device: where the blocks run.
    """
    if device.type == "cpu":
        return WHOLE if step < _WHOLE_STEPS else SAMPLE
    return SAMPLE if step < _WHOLE_STEPS or step % _REST == 0 else NOTHING


class FirstRun:
    """The context of the first run of blocks: ``with FirstRun(name, extent): ...``.

    Args:
        name: tells the path of the block that runs.
        extent: what of each tensor is compared later.
        vectors: whether tensors with one dimension are compared; running statistics are written
            to after they are saved.
    """

    def __init__(self, name: Callable[[], str], extent: str, *, vectors: bool = True) -> None:
        self.name = name
        self.extent = extent
        self.vectors = vectors

    def __enter__(self) -> None:
        _open().append(self)

    def __exit__(self, *error: object) -> None:
        _open().pop()


_thread = threading.local()


def _open() -> list[FirstRun]:
    """The first runs that this thread is in."""
    if not hasattr(_thread, "open"):
        _thread.open = []
    return _thread.open


@dataclass(frozen=True, eq=False)
class Print:
    """What is compared of a tensor.

    Attributes:
        kind: its shape, type and device.
        block: the path of the block that computed it; "" in a second run.
        extent: what of it is compared.
        value: a checksum, or a sample; ``None`` if it is not compared.
        tensor: itself, in a second run.
    """

    kind: tuple[Any, ...]
    block: str = ""
    extent: str = NOTHING
    value: Any = None
    tensor: torch.Tensor | None = field(default=None, repr=False)

    def __ne__(self, second: object) -> bool:
        """Raise ScheduleError if a second run made something else; the checkpoint asks for it."""
        assert isinstance(second, Print)  # noqa: S101 - both are made by `print_of`
        if self.kind != second.kind:
            raise _other(self, f"a tensor {_said(second.kind)} in the place of {_said(self.kind)}")
        if self.value is None or second.tensor is None:
            return False
        if not _same(self.value, value_of(second.tensor, self.extent)):
            raise _other(self, f"other numbers in a tensor {_said(self.kind)}")
        return False


def _said(kind: tuple[Any, ...]) -> str:
    shape, dtype, device = kind
    return f"{tuple(shape)} of {str(dtype).removeprefix('torch.')} on {device}"


def _other(first: Print, what: str) -> ScheduleError:
    return ScheduleError(
        f"{first.block or 'a block'} computed something else in its second run: {what}, which "
        "backward reads. The gradients would be wrong, so the step ends here. A block must do the "
        "same twice: random numbers from a source that memprop does not see, the time, a cache "
        "or a counter kept outside the module are usual causes. Take them out of the block, or "
        "plan without it (blocks=...)"
    )


def print_of(tensor: torch.Tensor) -> Print:
    """What is compared of a tensor that backward reads, in either run."""
    kind = (tensor.shape, tensor.dtype, tensor.device)
    first = _open()
    if not first:
        return Print(kind, tensor=tensor)
    run = first[-1]
    if tensor.dim() <= 1 and not run.vectors:
        return Print(kind, run.name())
    return Print(kind, run.name(), run.extent, value_of(tensor, run.extent))


def value_of(tensor: torch.Tensor, extent: str) -> Any:
    """A checksum of a tensor on the CPU, a sample of one elsewhere; ``None`` if not compared."""
    if extent == NOTHING or not _is_comparable(tensor):
        return None
    with torch.no_grad(), torch._C._DisableTorchDispatch():
        if tensor.device.type == "cpu":
            return _checksum(_array(tensor), extent)
        return _sampled(tensor.detach()).clone()


def _is_comparable(tensor: torch.Tensor) -> bool:
    """Whether a tensor has numbers of its own; parameters are watched by their versions."""
    if type(tensor) is not torch.Tensor or tensor.layout != torch.strided or tensor.numel() == 0:
        return False
    if tensor.is_conj() or tensor.is_neg() or tensor.device.type == "meta":
        return False
    if tensor.dtype == torch.uint8:  # what kernels reserve for themselves, partly never written
        return False
    return not isinstance(tensor._base, nn.Parameter)


def _array(tensor: torch.Tensor) -> np.ndarray:
    plain = tensor.detach()
    if plain.dtype not in _IN_NUMPY:
        plain = plain.view({1: torch.uint8, 2: torch.int16}[plain.element_size()])
    array = plain.numpy()
    # In the order of memory, and each element once.
    array = array[tuple(slice(1) if stride == 0 else slice(None) for stride in array.strides)]
    return array.transpose(sorted(range(array.ndim), key=lambda axis: -array.strides[axis]))


_IN_NUMPY: Final = {
    *(torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
}


def _checksum(array: np.ndarray, extent: str) -> int:
    if extent == SAMPLE and array.size > _SAMPLE:
        step = array.size // _SAMPLE
        flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
        return zlib.crc32(flat[::step].tobytes())
    return _whole(array, 0)


_CHUNK: Final = 2**20


def _whole(array: np.ndarray, checksum: int) -> int:
    """The checksum of an array; of one that is no block of memory, part by part."""
    if array.flags.c_contiguous or array.nbytes <= _CHUNK:
        return zlib.crc32(np.ascontiguousarray(array).data, checksum)
    for part in array:
        checksum = _whole(part, checksum)
    return checksum


def _sampled(tensor: torch.Tensor) -> torch.Tensor:
    step = max(tensor.numel() // _SAMPLE, 1)
    if tensor.is_contiguous():
        return tensor.view(-1)[::step]
    while tensor.numel() > _SAMPLE and tensor.dim() > 0:
        axis = max(range(tensor.dim()), key=lambda axis: tensor.shape[axis])
        size = tensor.shape[axis]
        tensor = tensor.narrow(axis, 0, size - size % 2)
        tensor = tensor.unflatten(axis, (-1, 2)).select(axis + 1, 0)
    return tensor


def _same(first: Any, second: Any) -> bool:
    if not isinstance(first, torch.Tensor):
        return first == second
    if torch.equal(first, second):
        return True
    # Kernels of other devices may add up in another order each time.
    tolerance = 0.05 if first.dtype.itemsize < 4 else 1e-3
    scale = first.abs().amax() if first.is_floating_point() else 0
    return bool(
        first.is_floating_point()
        and torch.allclose(first, second, tolerance, float(scale) * tolerance, equal_nan=True)
    )


CHECK: Final = "memprop"
"""The name under which checkpoints find :func:`print_of` (``determinism_check=``)."""

checkpoint._allowed_determinism_checks_to_fns[CHECK] = print_of
