"""Softmax and norms: aten/src/ATen/native/cuda/SoftMax.cu, layer_norm_kernel.cu and others."""

import math
from collections.abc import Iterator
from typing import Final

import torch

from memprop.cuda.reduction import reduction_scratch
from memprop.cuda.rounding import ceil_div, last_power_of_two
from memprop.torch.fake.cuda.scratch.rules import (
    Call,
    Rules,
    bytes_of,
    bytes_of_copy,
    channels_are_last,
)

_aten: Final = torch.ops.aten
RULES: Final = Rules()


@RULES.of(_aten._softmax.default, _aten._log_softmax.default)
def _softmax(call: Call) -> Iterator[int]:
    yield bytes_of_copy(call["self"])


@RULES.of(_aten._log_softmax_backward_data.default)
def _log_softmax_backward(call: Call) -> Iterator[int]:
    yield bytes_of_copy(call["grad_output"])
    yield bytes_of_copy(call["output"])


@RULES.of(_aten._softmax_backward_data.default)
def _softmax_backward(call: Call) -> Iterator[int]:
    """``softmax_backward_cuda_out``: the product of gradient and output."""
    yield bytes_of(call["grad_output"])
    yield bytes_of_copy(call["output"])


@RULES.of(_aten._safe_softmax.default)
def _safe_softmax(call: Call) -> Iterator[int]:
    """transformers/attention.cpp: where a row is masked, and which rows are."""
    operand = call["self"]
    yield operand.numel()
    yield operand.numel() // max(operand.shape[call["dim"]], 1)
    yield call.made.element_size()


_CHUNK: Final = 65536
"""Elements that a block of threads takes (``kChunkSize`` in cuda/MultiTensorApply.cuh)."""


@RULES.of(_aten._foreach_norm.Scalar)
def _norms(call: Call) -> Iterator[int]:
    """``foreach_tensor_norm_cuda`` in cuda/ForeachReduceOp.cu: a partial norm for each chunk."""
    tensors = call["self"]
    chunks = max(ceil_div(tensor.numel(), _CHUNK) for tensor in tensors)
    yield len(tensors) * chunks * max(4, tensors[0].element_size())


@RULES.of(_aten.native_layer_norm.default)
def _layer_norm(call: Call) -> Iterator[int]:
    """layer_norm.cpp: a contiguous operand."""
    yield bytes_of_copy(call["input"])


@RULES.of(_aten.native_layer_norm_backward.default)
def _layer_norm_backward(call: Call) -> Iterator[int]:
    """cuda/layer_norm_kernel.cu: contiguous operands; partial sums where rows are many and short.

    ``LaunchGammaBetaBackwardCUDAKernel`` has blocks of 256 rows, each with 8 partial sums.
    """
    samples = call["input"]
    yield bytes_of_copy(call["grad_out"])
    yield bytes_of_copy(samples)
    columns = math.prod(call["normalized_shape"])
    rows = samples.numel() // columns if columns else 0
    if call["weight"] is None or rows <= 64 * 1024:
        return
    if columns // 32 >= call.gpu.multiprocessors // 2:
        return
    partial = rows // 256 * 8
    wide = call["weight"].element_size()
    yield partial * columns * wide
    yield partial * columns * wide
    yield columns * wide
    yield from reduction_scratch(call.gpu, (partial, columns), (columns, 1), (0,), itemsize=wide)


@RULES.of(_aten.native_group_norm.default)
def _group_norm(call: Call) -> Iterator[int]:
    """cuda/group_norm_kernel.cu: scale and shift of each channel of each sample."""
    yield bytes_of_copy(call["input"])
    if call["HxW"] > 1:
        yield call["N"] * call["C"] * 4
        yield call["N"] * call["C"] * 4


@RULES.of(_aten.native_group_norm_backward.default)
def _group_norm_backward(call: Call) -> Iterator[int]:
    """The same file: sums over each channel, and the factors that come of them."""
    samples, channels, groups = call["N"], call["C"], call["group"]
    yield bytes_of_copy(call["grad_out"])
    yield bytes_of_copy(call["input"])
    yield from (samples * channels * 4,) * 2
    if call["HxW"] > 1:
        yield samples * channels * 4
    yield from (samples * groups * 4,) * 2


@RULES.of(_aten.native_batch_norm.default)
def _batch_norm(call: Call) -> Iterator[int]:
    """cuda/Normalization.cuh: what blocks have summed, where channels lie last."""
    operand = call["input"]
    if not call["training"] or not channels_are_last(operand):
        return
    channels = operand.shape[1]
    grid_x, grid_y = _channels_last_grid(operand.numel() // channels, channels)
    if grid_y > 1:
        yield 4 * channels * grid_y * 4
        yield grid_x * 4


def _channels_last_grid(rows: int, channels: int) -> tuple[int, int]:
    """``flexible_launch_configs``: threads of a block 512, elements of a thread 16."""
    block_x = min(last_power_of_two(channels), 32)
    block_y = min(last_power_of_two(ceil_div(rows, 16)), 512 // block_x)
    if block_x * block_y != 512:
        block_x = min(last_power_of_two(channels), 512 // block_y)
    grid_y = min(ceil_div(rows, block_y * 16), 128)
    return ceil_div(channels, block_x), grid_y if grid_y >= 8 else 1


@RULES.of(_aten.native_batch_norm_backward.default)
def _batch_norm_backward(call: Call) -> Iterator[int]:
    """The same file: two sums for each channel."""
    if call["train"] and channels_are_last(call["input"]):
        yield from (call["input"].shape[1] * 4,) * 2
