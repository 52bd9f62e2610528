"""What convolutions take for themselves; only cuDNN decides, so all of it is a guess.

Found from 695 calls on an H100 (cuDNN 9.19). What explains most of them:

* Kernels for tensor cores want channels last: where they lie first, samples and results are copied.
* Kernels of 16 bits take channels in eights: where there are fewer, copies are padded.
* The gradient of the weights is summed up in parts: one for each sample where the kernel is 1 x 1.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import torch

from memprop.cuda.rounding import round_up

_EIGHT: Final = 8
_PARTS: Final = 512
_EXTRA: Final = 64
"""Bytes by which a workspace was larger than the copies in it; 16 to 400 for all."""
_IN_ONE_PART: Final = 9 * 2**18
"""Weights whose gradient is summed up in one part; that of fewer ones in more."""
_FAR: Final = 8
"""Dilations beyond this one have other kernels, which do not copy results."""
_MANY: Final = 10_000
"""Places from which on products are not summed up sample by sample."""


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """One convolution, as far as its scratch depends on it.

    Attributes:
        samples: the input.
        weight: the weights.
        output: the result, or its gradient.
        stride: of the kernel.
        dilation: the distance of the kernel's elements.
        groups: into which channels are divided.
    """

    samples: torch.Tensor
    weight: torch.Tensor
    output: torch.Tensor
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, given: dict[str, Any], output: torch.Tensor) -> "Convolution":
        """The convolution with these arguments."""
        return cls(
            samples=given["input"],
            weight=given["weight"],
            output=output,
            stride=tuple(given["stride"]),
            dilation=tuple(given["dilation"]),
            groups=given["groups"],
        )

    @property
    def halves(self) -> bool:
        """Whether its numbers have 16 bits."""
        return self.samples.element_size() == 2

    @property
    def channels_last(self) -> bool:
        """Whether cuDNN's kernel finds channels last."""
        return _is_last(self.samples) or _is_last(self.weight)

    @property
    def depthwise(self) -> bool:
        """Whether each channel is a group."""
        return self.groups > 1 and self.groups == self.samples.shape[1]

    @property
    def kernel(self) -> tuple[int, ...]:
        """The size of the kernel."""
        return tuple(self.weight.shape[2:])

    @property
    def is_product(self) -> bool:
        """Whether it is a product of matrices: its kernel has one element."""
        return math.prod(self.kernel) == 1

    @property
    def has_few_channels(self) -> bool:
        """Whether it is a small kernel on the channels of an image."""
        return self.samples.shape[1] <= 4 and max(self.kernel) <= 4

    @property
    def places(self) -> int:
        """How many places a result has in each channel."""
        return math.prod(self.output.shape[2:])

    def padded(self, tensor: torch.Tensor) -> int:
        """Bytes of a copy with channels last, in eights where numbers have 16 bits."""
        channels = tensor.shape[1]
        unit = _EIGHT if self.halves else 1
        size = tensor.numel() * tensor.element_size()
        return size // max(channels, 1) * round_up(channels, unit) + _EXTRA

    def padding(self, tensor: torch.Tensor) -> int:
        """Bytes of the copy if channels must be padded, else 0."""
        return self.padded(tensor) if self.halves and tensor.shape[1] % _EIGHT else 0


def forward_bytes(call: Convolution) -> int:
    """What the forward pass of a convolution takes."""
    if call.depthwise:
        return 0
    copies = call.padded(call.samples) + call.padded(call.output)
    if call.channels_last:
        if call.groups > 1:
            return copies + 7 * _bytes(call.weight)
        return call.padding(call.samples) + call.padding(call.output)
    if call.is_product:
        strided = max(call.stride) > 1
        uneven = call.halves and call.places > 1 and call.places % _EIGHT
        return copies if strided or uneven else 0
    if not call.halves and (call.stride == call.kernel or call.has_few_channels):
        return 0
    if max(call.dilation) > _FAR:
        copies = call.padded(call.samples)
    return copies + call.padded(call.weight)


def backward_bytes(call: Convolution) -> int:
    """What the backward pass of a convolution takes, beside the gradients."""
    if call.depthwise:
        return _depthwise_backward(call)
    copies = call.padded(call.samples) + call.padded(call.output)
    if call.channels_last:
        if call.groups > 1:
            return int(1.2 * copies) + 9 * _bytes(call.weight)
        apart = 0 if _is_last(call.output) else _bytes(call.output)
        parts = _parts(call) * call.weight.numel() * 4
        return apart + call.padding(call.samples) + call.padding(call.output) + parts
    if call.is_product:
        by_sample = call.samples.shape[0] * call.weight.numel() * 4
        most = 1 if call.halves else 4
        fits = max(call.stride) == 1 and by_sample <= most * copies and call.places < _MANY
        return by_sample if fits and call.places > 1 else copies
    if not call.halves and call.has_few_channels:
        return 0
    if not call.halves and call.stride == call.kernel:  # patches
        return _bytes(call.output)
    if call.halves:
        return copies + 2 * call.padded(call.weight)
    parts = min(max(_IN_ONE_PART / call.weight.numel(), 1), 15)
    if max(call.dilation) > _FAR:
        parts = max(parts - 1, 1)
    return copies + int(parts * _bytes(call.weight))


def _parts(call: Convolution) -> int:
    """In how many parts the gradient of the weights is summed up where channels lie last."""
    fewest = min(call.samples.shape[1], call.output.shape[1])
    most = 512 if call.is_product else 128
    for channels, parts in ((8, 0), (32, 108), (64, 13), (128, 4), (most, 2)):
        if fewest <= channels:
            return parts
    return 0


def _depthwise_backward(call: Convolution) -> int:
    """Where channels lie first PyTorch's own kernels run, which need nothing."""
    if not call.channels_last:
        return 0
    if call.halves:
        channels = round_up(call.samples.shape[1], 32)
        return channels * math.prod(call.kernel) * 2 * _PARTS
    if max(call.kernel) >= 7:
        return int((8.3 if call.places > 200 else 2) * _bytes(call.samples))
    return _bytes(call.samples) // 4


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _is_last(tensor: torch.Tensor) -> bool:
    """Whether channels lie last without gaps, and not also first."""
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.dim())
    if layout is None or tensor.is_contiguous():
        return False
    return tensor.is_contiguous(memory_format=layout)
