"""Embeddings, indices, sorting: most of them sort indices first."""

import math
from collections.abc import Iterator
from typing import Final

import torch

from memprop.torch.fake.cuda.scratch.rules import Call, Rules, bytes_of, bytes_of_copy

_aten: Final = torch.ops.aten
RULES: Final = Rules()
_INDEX_BYTES: Final = 8


@RULES.of(_aten.embedding.default)
def _embedding(call: Call) -> Iterator[int]:
    """Embedding.cpp flattens the indices."""
    yield bytes_of_copy(call["indices"])


@RULES.of(_aten.embedding_dense_backward.default)
def _embedding_backward(call: Call) -> Iterator[int]:
    """cuda/Embedding.cu and cuda/EmbeddingBackwardKernel.cu: indices are sorted if they are many.

    The gradients of one row are added up in segments of ten.
    """
    indices, gradient = call["indices"], call["grad_output"]
    count = indices.numel()
    yield bytes_of_copy(indices)
    if count <= 3072 and not call["scale_grad_by_freq"]:
        return
    yield bytes_of_copy(gradient)
    segments = min(count, call["num_weights"])
    partial = count // 10 + segments
    width = gradient.shape[-1]
    summing = [
        *(_INDEX_BYTES * size for size in (count, segments, segments, partial, 1, 1)),
        partial * width * 4,
    ]
    sorting = [_INDEX_BYTES * count, *_sorted_pairs(count)]
    yield from (_INDEX_BYTES * count,) * 2  # the sorted indices, and where each comes from
    yield from max(summing, sorting, key=sum)


def _sorted_pairs(count: int, itemsize: int = _INDEX_BYTES) -> tuple[int, ...]:
    """What CUB's radix sort of pairs takes: a second buffer for keys and values."""
    return (count * (itemsize + _INDEX_BYTES),) if count > 4096 else ()


@RULES.of(_aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default)
def _index_put(call: Call) -> Iterator[int]:
    """cuda/Indexing.cu: values are added in the order of their sorted indices."""
    if not call["accumulate"]:
        return
    indices = [one for one in call["indices"] if one is not None]
    count = math.prod(torch.broadcast_shapes(*(one.shape for one in indices)))
    yield bytes_of_copy(call["values"])
    yield from (_INDEX_BYTES * count,) * 4  # linear, sorted, their places, a range
    yield from _sorted_pairs(count)


@RULES.of(_aten.index.Tensor)
def _index(call: Call) -> Iterator[int]:
    """``make_info`` in TensorAdvancedIndexing.cpp: several indices get the same strides."""
    indices = [one for one in call["indices"] if one is not None and one.dtype != torch.bool]
    if len(indices) < 2:
        return
    spread = torch.broadcast_tensors(*indices)
    if len({one.stride() for one in spread}) > 1:
        yield from (bytes_of_copy(one) for one in spread)


@RULES.of(_aten.sort.default, _aten.sort.stable)
def _sort(call: Call) -> Iterator[int]:
    """cuda/Sort.cu."""
    yield _INDEX_BYTES * call["self"].shape[call["dim"]] if call["self"].dim() else 0


@RULES.of(_aten.topk.default)
def _topk(call: Call) -> Iterator[int]:
    """``mbtopk::launch`` in cuda/TensorTopK.cu, where several blocks of threads share a slice."""
    values = call["self"]
    length = values.shape[call["dim"]] if values.dim() else 1
    slices = values.numel() // max(length, 1)
    yield bytes_of_copy(values)
    if length < next(least for most, least in _SHARED_SLICES if slices <= most):
        return
    at_once = call.gpu.multiprocessors * _BLOCKS_OF_TOPK * _THREADS_OF_TOPK
    items = min(max(-(-values.numel() // at_once), 4), 64) * _THREADS_OF_TOPK
    blocks = slices * -(-length // items)
    yield values.element_size() * slices  # the values at place k
    yield from (4 * slices, 8 * slices, 4 * slices)  # semaphores, what is to be found, bits
    yield from (2 * _DIGITS * blocks, 4 * _DIGITS * slices)  # counts of digits, and their sums
    yield from (4 * blocks, 4 * blocks, _SCAN_OF_TOPK)  # two counts, and the scan of each


_SHARED_SLICES: Final = (
    (20, 20000),
    (40, 10000),
    (80, 8000),
    (199, 5000),
    (799, 3000),
    (4000, 800),
    (math.inf, 400),
)
"""Up to so many slices, those of at least so many values are shared: ``should_use_multiblock``."""
_BLOCKS_OF_TOPK: Final = 6
"""Blocks that a multiprocessor holds: it has 65,536 registers, a thread takes 40."""
_THREADS_OF_TOPK: Final = 256
_DIGITS: Final = 256
_SCAN_OF_TOPK: Final = 1536
"""What CUB's scan by key takes: measured, in all shapes the same."""


@RULES.of(_aten.roll.default)
def _roll(call: Call) -> Iterator[int]:
    """TensorTransformations.h rolls one dimension after the other."""
    if len(call["dims"]) > 1:
        yield bytes_of(call["self"])
