"""What CUDA's reductions (sum, mean, norm, ...) take for themselves.

A reduction whose input is spread over several blocks of threads keeps what each block found in a
buffer. Its size is that of ``setReduceConfig`` and ``ReduceConfig`` in aten/src/ATen/native/cuda/
Reduce.cuh, for operands that lie as TensorIterator orders them (aten/src/ATen/TensorIterator.cpp;
PyTorch 2.11).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Final

from memprop.cuda.gpus import GPU
from memprop.cuda.rounding import ceil_div, last_power_of_two

_MOST_THREADS: Final = 512
_WARP: Final = 32
_LEAST_VALUES: Final = 16
_MOST_VALUES: Final = 256
_VECTOR: Final = 4
_MOST_OFFSET: Final = 2**31 - 1


@dataclass(frozen=True)
class _Dimension:
    """One dimension of what is reduced: its size, the input's stride in bytes."""

    size: int
    stride: int
    reduced: bool


def reduction_scratch(
    gpu: GPU,
    shape: Sequence[int],
    strides: Sequence[int],
    reduced: Sequence[int],
    *,
    itemsize: int,
    accumulator: int = 4,
    values: int = _VECTOR,
) -> tuple[int, ...]:
    """The buffers of a reduction in bytes, in the order in which they are allocated.

    Args:
        gpu: where it runs.
        shape: of the input.
        strides: of the input, in elements.
        reduced: the dimensions that are reduced.
        itemsize: bytes of an element of the input.
        accumulator: bytes of a partial result.
        values: how many values a thread reads at once (``vt0``).

    The gradient of a bias, a sum over 4096 rows of 2048 numbers:

    >>> from memprop.cuda.gpus import GPUS
    >>> reduction_scratch(GPUS["h100"], (4096, 2048), (2048, 1), (0,), itemsize=4)
    (67108864, 64)
    """
    if 0 in shape:
        return ()
    dimensions = _coalesced(
        _ordered(
            [
                _Dimension(size, stride * itemsize, place in reduced)
                for place, (size, stride) in enumerate(zip(shape, strides, strict=True))
            ]
        )
    )
    parts = _with_small_offsets(dimensions)
    found = [_buffers(gpu, part, itemsize, accumulator, values) for part in parts]
    return max(found, key=sum)


def _ordered(dimensions: list[_Dimension]) -> list[_Dimension]:
    """Reduced dimensions first, each kind by its strides (``reorder_dimensions``)."""

    def compare(one: _Dimension, other: _Dimension) -> int:
        if one.reduced != other.reduced:
            return -1 if one.reduced else 1
        if 0 in (one.stride, other.stride):
            return 0
        return (one.stride > other.stride) - (one.stride < other.stride) or (one.size > other.size)

    order = list(reversed(dimensions))
    key = cmp_to_key(compare)
    for place in range(1, len(order)):  # insertion sort, as there: the order is not transitive
        at = place
        while at > 0 and key(order[at]) < key(order[at - 1]):
            order[at - 1], order[at] = order[at], order[at - 1]
            at -= 1
    return order


def _coalesced(dimensions: list[_Dimension]) -> list[_Dimension]:
    """Neighbours that lie as one dimension made one (``coalesce_dimensions``)."""
    merged: list[_Dimension] = []
    for one in dimensions:
        last = merged[-1] if merged else None
        if last is None:
            merged.append(one)
        elif one.size == 1 or last.size == 1:
            merged[-1] = one if last.size == 1 else last
        elif last.reduced == one.reduced and last.stride * last.size == one.stride:
            merged[-1] = _Dimension(last.size * one.size, last.stride, last.reduced)
        else:
            merged.append(one)
    return merged


def _with_small_offsets(dimensions: list[_Dimension]) -> list[list[_Dimension]]:
    """Halves of what has offsets of more than 31 bits (``with_32bit_indexing``)."""
    extents = [(one.size - 1) * one.stride for one in dimensions]
    if sum(extents) <= _MOST_OFFSET:
        return [dimensions]
    place = extents.index(max(extents))
    whole = dimensions[place]
    parts = []
    for size in (whole.size // 2, whole.size - whole.size // 2):
        part = list(dimensions)
        part[place] = _Dimension(size, whole.stride, whole.reduced)
        parts += _with_small_offsets(part)
    return parts


def _buffers(
    gpu: GPU, dimensions: list[_Dimension], itemsize: int, accumulator: int, values: int
) -> tuple[int, ...]:
    """``setReduceConfig``: how threads and blocks share the work."""
    outputs = math.prod(one.size for one in dimensions if not one.reduced)
    inputs = math.prod(one.size for one in dimensions if one.reduced)
    count = sum(one.reduced for one in dimensions)
    along = (
        not dimensions
        or count == len(dimensions)
        or (count > 0 and dimensions[0].stride < dimensions[count].stride)
    )
    width, height = (inputs, outputs) if along else (outputs, inputs)
    fastest = dimensions[0 if along else count].stride if dimensions else itemsize
    vector = 1
    if fastest == itemsize:
        if along and width >= 128 and len(dimensions) == 1 and values >= _VECTOR:
            width //= _VECTOR
        elif not along:
            vector = _output_vector(dimensions, count, itemsize)
            width //= vector
    block = _Block.of(width, height, _MOST_THREADS // vector)

    per_input, per_output = (block.width, 1) if along else (1, block.width)
    if ceil_div(inputs, per_input) >= min(block.height * 16, _MOST_VALUES):
        per_input *= block.height
        across_warps = True
    else:
        per_output *= block.height
        across_warps = False
    each = ceil_div(inputs, per_input)
    target = gpu.multiprocessors * (gpu.threads_per_multiprocessor // block.threads)
    grid = ceil_div(outputs // vector, per_output)
    if not across_warps or each < _MOST_VALUES or grid > target:
        return ()
    spread = max(
        min(ceil_div(target, grid), ceil_div(each, _LEAST_VALUES)), ceil_div(each, _MOST_VALUES)
    )
    if spread <= 1:
        return ()
    size = accumulator * outputs * spread
    return (size if along else size * block.width * vector, 4 * grid)


def _output_vector(dimensions: list[_Dimension], place: int, itemsize: int) -> int:
    """How many results a thread has at once (``get_output_vec_size``)."""
    numbers = [dimensions[place].size]
    numbers += [one.stride // itemsize for at, one in enumerate(dimensions) if at != place]
    vector = _VECTOR
    for number in numbers:
        while number % vector:
            vector //= 2
    return vector


@dataclass(frozen=True)
class _Block:
    """The threads of a block (``set_block_dimension``)."""

    width: int
    height: int

    @property
    def threads(self) -> int:
        return self.width * self.height

    @classmethod
    def of(cls, width: int, height: int, most: int) -> "_Block":
        width, height = (last_power_of_two(min(number, most)) for number in (width, height))
        rows = min(height, most // min(width, _WARP))
        return cls(min(width, most // rows), rows)
