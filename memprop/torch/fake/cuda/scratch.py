"""What CUDA's kernels take for themselves while they run: operator by operator.

Each rule gives the buffers that live beside the results where a kernel needs most, in bytes and in
the order in which they are allocated. Rules are read from PyTorch's source (2.11), whose file each
one names; those of cuDNN are fitted to what an H100 did, and are guesses.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from memprop.cuda.gpus import GPU
from memprop.cuda.reduction import reduction_scratch
from memprop.cuda.rounding import ceil_div, last_power_of_two, round_up
from memprop.torch.fake.cuda import convolution, recurrent
from memprop.torch.fake.cuda.convolution import Convolution
from memprop.torch.record.schema import named_arguments
from memprop.torch.record.scratch import NO_SCRATCH, Scratch

_aten: Final = torch.ops.aten
_INDEX_BYTES: Final = 8


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an operator.

    Attributes:
        gpu: where it runs.
        given: its arguments by name.
        made: what it returned.
    """

    gpu: GPU
    given: dict[str, Any]
    made: Any

    def __getitem__(self, name: str) -> Any:
        return self.given[name]


_PRODUCTS: Final = {
    _aten.mm.default,
    _aten.addmm.default,
    _aten.bmm.default,
    _aten.baddbmm.default,
    _aten.addmv.default,
    _aten.mv.default,
    _aten.dot.default,
}
"""Operators of cuBLAS, which has a workspace for each thread and stream."""
_CUBLASLT: Final = 2**20
"""Bytes of the workspace of cuBLASLt, which adds a bias of one dimension (Blas.cpp)."""
_LAST_FIRST: Final = {_aten.native_dropout.default}
"""Kernels that allocate their last result first: Dropout.cu makes the mask before the output."""
_LATE: Final = {
    _aten._cudnn_rnn.default: 1,  # the reserve
    _aten._cudnn_rnn_backward.default: 1,  # the gradients of the weights
}
"""How many results a kernel allocates only when the first buffers are there, or were."""
_AND_THEN: Final = -1
"""Between the buffers of one part of a call and those of the next."""
_DROPOUT_STATE: Final = 6488064
"""Bytes that cuDNN needs for the state of its random numbers on an H100, kept by PyTorch."""

_Rule = Callable[[Call], Iterator[int]]
_RULES: Final[dict[Any, _Rule]] = {}


def _of(*operators: Any) -> Callable[[_Rule], _Rule]:
    def register(rule: _Rule) -> _Rule:
        _RULES.update(dict.fromkeys(operators, rule))
        return rule

    return register


def scratch_of(
    gpu: GPU, func: Any, args: Sequence[Any], kwargs: dict[str, Any], made: Any
) -> Scratch:
    """What the kernel of an operator takes for itself in one call."""
    if func in _PRODUCTS:
        kept = ("cublas", gpu.cublas_workspace)
        with_bias = func is _aten.addmm.default and args[0].dim() == 1
        return Scratch(kept=(kept, ("cublasLt", _CUBLASLT)) if with_bias else (kept,))
    if func in _LAST_FIRST:
        return Scratch(last_first=True)
    rule = _RULES.get(func)
    if rule is None:
        return NO_SCRATCH
    call = Call(gpu=gpu, given=named_arguments(func, args, kwargs), made=made)
    drops = func is _aten._cudnn_rnn.default and call["dropout"] > 0
    return Scratch(
        stages=_stages(rule(call)),
        guessed=func in GUESSED,
        kept=(("cudnn dropout", _DROPOUT_STATE),) if drops else (),
        late=_LATE.get(func, 0),
        while_used=func is _aten._cudnn_rnn.default,
    )


def _stages(sizes: Iterator[int]) -> tuple[tuple[int, ...], ...]:
    """The buffers of each part of a call; those of 0 bytes are none."""
    stages: list[list[int]] = [[]]
    for size in sizes:
        if size == _AND_THEN:
            stages.append([])
        elif size > 0:
            stages[-1].append(size)
    return tuple(map(tuple, stages))


def _bytes(tensor: torch.Tensor, itemsize: int | None = None) -> int:
    return tensor.numel() * (itemsize or tensor.element_size())


def _copy(tensor: torch.Tensor) -> int:
    """Bytes of the copy that a kernel makes of an operand that is not contiguous."""
    return 0 if tensor.is_contiguous() else _bytes(tensor)


def _reduction(
    gpu: GPU,
    tensor: torch.Tensor,
    dims: Sequence[int] | None,
    *,
    accumulator: int = 4,
    itemsize: int | None = None,
) -> tuple[int, ...]:
    """The buffers of a reduction of a tensor over some dimensions, all if none is named."""
    rank = tensor.dim()
    reduced = range(rank) if not dims else [dim % rank for dim in dims] if rank else ()
    return reduction_scratch(
        gpu,
        tensor.shape,
        tensor.stride(),
        tuple(reduced),
        itemsize=itemsize or tensor.element_size(),
        accumulator=max(accumulator, 8 if tensor.dtype in _WIDE else 4),
    )


_WIDE: Final = (torch.float64, torch.int64, torch.complex64)


def _dims(call: Call) -> Sequence[int] | None:
    dims = call.given.get("dim")
    return [dims] if isinstance(dims, int) else dims


# Reductions: aten/src/ATen/native/ReduceOps.cpp and cuda/Reduce*.cu.


@_of(_aten.sum.dim_IntList, _aten.sum.default, _aten.mean.dim, _aten.mean.default)
def _sum(call: Call) -> Iterator[int]:
    """An operand of another type is cast first, but not 16 bits to 32 (``make_reduction``)."""
    operand, result = call["self"], call.made
    lifted = operand.element_size() == 2 and result.dtype == torch.float32
    cast = operand.dtype != result.dtype and not lifted
    if cast:
        yield _bytes(operand, result.element_size())
    yield from _reduction(
        call.gpu,
        operand,
        _dims(call),
        accumulator=8 if result.dtype in _WIDE else 4,
        itemsize=result.element_size() if cast else None,
    )


@_of(
    _aten.prod.default,
    _aten.prod.dim_int,
    _aten.amax.default,
    _aten.amin.default,
    _aten.max.default,
    _aten.min.default,
    _aten.any.default,
    _aten.any.dim,
    _aten.all.default,
    _aten.all.dim,
    _aten.linalg_vector_norm.default,
    _aten.norm.ScalarOpt_dim,
)
def _reduced(call: Call) -> Iterator[int]:
    yield from _reduction(call.gpu, call["self"], _dims(call))


@_of(_aten.cumsum.default, _aten.cumprod.default)
def _cumulated(call: Call) -> Iterator[int]:
    """ReduceOps.cpp casts an operand of another type."""
    if call["self"].dtype != call.made.dtype:
        yield _bytes(call["self"], call.made.element_size())


# Losses.


@_of(_aten.mse_loss.default, _aten.smooth_l1_loss.default, _aten.soft_margin_loss.default)
def _loss(call: Call) -> Iterator[int]:
    """The losses of all elements, beside the output that was made as large (BinaryOps.cpp)."""
    if call["reduction"] != 0:
        yield _bytes(call["self"])
        yield from _reduction(call.gpu, call["self"], None)


@_of(_aten.huber_loss.default)
def _huber(call: Call) -> Iterator[int]:
    if call["reduction"] != 0:
        yield _bytes(call["self"])


@_of(_aten.binary_cross_entropy_with_logits.default)
def _binary_cross_entropy(call: Call) -> Iterator[int]:
    """Loss.cpp: the losses, and the logarithm of the sigmoid."""
    yield _bytes(call["self"])
    yield _bytes(call["self"])


# Softmax: cuda/SoftMax.cu works on contiguous operands.


@_of(_aten._softmax.default, _aten._log_softmax.default)
def _softmax(call: Call) -> Iterator[int]:
    yield _copy(call["self"])


@_of(_aten._log_softmax_backward_data.default)
def _log_softmax_backward(call: Call) -> Iterator[int]:
    yield _copy(call["grad_output"])
    yield _copy(call["output"])


@_of(_aten._softmax_backward_data.default)
def _softmax_backward(call: Call) -> Iterator[int]:
    """``softmax_backward_cuda_out``: the product of gradient and output."""
    yield _bytes(call["grad_output"])
    yield _copy(call["output"])


@_of(_aten._safe_softmax.default)
def _safe_softmax(call: Call) -> Iterator[int]:
    """transformers/attention.cpp: where a row is masked, and which rows are."""
    operand = call["self"]
    yield operand.numel()
    yield operand.numel() // max(operand.shape[call["dim"]], 1)
    yield call.made.element_size()


# Norms.


@_of(_aten.native_layer_norm.default)
def _layer_norm(call: Call) -> Iterator[int]:
    """layer_norm.cpp: a contiguous operand."""
    yield _copy(call["input"])


@_of(_aten.native_layer_norm_backward.default)
def _layer_norm_backward(call: Call) -> Iterator[int]:
    """cuda/layer_norm_kernel.cu: contiguous operands; partial sums where rows are many and short.

    ``LaunchGammaBetaBackwardCUDAKernel`` has blocks of 256 rows, each with 8 partial sums.
    """
    samples = call["input"]
    yield _copy(call["grad_out"])
    yield _copy(samples)
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


@_of(_aten.native_group_norm.default)
def _group_norm(call: Call) -> Iterator[int]:
    """cuda/group_norm_kernel.cu: scale and shift of each channel of each sample."""
    yield _copy(call["input"])
    if call["HxW"] > 1:
        yield call["N"] * call["C"] * 4
        yield call["N"] * call["C"] * 4


@_of(_aten.native_group_norm_backward.default)
def _group_norm_backward(call: Call) -> Iterator[int]:
    """The same file: sums over each channel, and the factors that come of them."""
    samples, channels, groups = call["N"], call["C"], call["group"]
    yield _copy(call["grad_out"])
    yield _copy(call["input"])
    yield from (samples * channels * 4,) * 2
    if call["HxW"] > 1:
        yield samples * channels * 4
    yield from (samples * groups * 4,) * 2


@_of(_aten.native_batch_norm.default)
def _batch_norm(call: Call) -> Iterator[int]:
    """cuda/Normalization.cuh: what blocks have summed, where channels lie last."""
    operand = call["input"]
    if not call["training"] or not _channels_are_last(operand):
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


@_of(_aten.native_batch_norm_backward.default)
def _batch_norm_backward(call: Call) -> Iterator[int]:
    """The same file: two sums for each channel."""
    if call["train"] and _channels_are_last(call["input"]):
        yield from (call["input"].shape[1] * 4,) * 2


def _channels_are_last(tensor: torch.Tensor) -> bool:
    """``batch_norm_choose_impl``."""
    if tensor.is_contiguous():
        return tensor.dim() > 1 and tensor.stride(1) == 1
    return tensor.dim() in (4, 5) and tensor.stride(1) == 1


# Embeddings, indices, sorting.


@_of(_aten.embedding.default)
def _embedding(call: Call) -> Iterator[int]:
    """Embedding.cpp flattens the indices."""
    yield _copy(call["indices"])


@_of(_aten.embedding_dense_backward.default)
def _embedding_backward(call: Call) -> Iterator[int]:
    """cuda/Embedding.cu and cuda/EmbeddingBackwardKernel.cu: indices are sorted if they are many.

    The gradients of one row are added up in segments of ten.
    """
    indices, gradient = call["indices"], call["grad_output"]
    count = indices.numel()
    yield _copy(indices)
    if count <= 3072 and not call["scale_grad_by_freq"]:
        return
    yield _copy(gradient)
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


@_of(_aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default)
def _index_put(call: Call) -> Iterator[int]:
    """cuda/Indexing.cu: values are added in the order of their sorted indices."""
    if not call["accumulate"]:
        return
    indices = [one for one in call["indices"] if one is not None]
    count = math.prod(torch.broadcast_shapes(*(one.shape for one in indices)))
    yield _copy(call["values"])
    yield from (_INDEX_BYTES * count,) * 4  # linear, sorted, their places, a range
    yield from _sorted_pairs(count)


@_of(_aten.index.Tensor)
def _index(call: Call) -> Iterator[int]:
    """``make_info`` in TensorAdvancedIndexing.cpp: several indices get the same strides."""
    indices = [one for one in call["indices"] if one is not None and one.dtype != torch.bool]
    if len(indices) < 2:
        return
    spread = torch.broadcast_tensors(*indices)
    if len({one.stride() for one in spread}) > 1:
        yield from (_copy(one) for one in spread)


@_of(_aten.sort.default, _aten.sort.stable)
def _sort(call: Call) -> Iterator[int]:
    """cuda/Sort.cu."""
    yield _INDEX_BYTES * call["self"].shape[call["dim"]] if call["self"].dim() else 0


@_of(_aten.roll.default)
def _roll(call: Call) -> Iterator[int]:
    """TensorTransformations.h rolls one dimension after the other."""
    if len(call["dims"]) > 1:
        yield _bytes(call["self"])


# Attention.


@_of(_aten._scaled_dot_product_efficient_attention_backward.default)
def _efficient_attention_backward(call: Call) -> Iterator[int]:
    """transformers/cuda/attention_backward.cu: the product of output and gradient, and its sums."""
    gradient, query = call["grad_out_"], call["query"]
    laid_out = gradient.transpose(1, 2)
    yield _copy(laid_out)
    yield _bytes(gradient, 4)
    rows = math.prod(query.shape[:3]) * 4
    yield rows
    yield rows


@_of(_aten._scaled_dot_product_flash_attention_backward.default)
def _flash_attention_backward(call: Call) -> Iterator[int]:
    """transformers/cuda/flash_attn/flash_api.cpp: ``mha_bwd``."""
    query, key = call["query"], call["key"]
    batch, heads, rows, width = query.shape
    rounded_rows, rounded_width = round_up(rows, 128), round_up(width, 32)
    yield batch * heads * rounded_rows * 4
    yield batch * rounded_rows * heads * rounded_width * 4
    if key.shape[1] != heads:
        yield from (batch * key.shape[2] * heads * width * query.element_size(),) * 2


@_of(_aten._scaled_dot_product_cudnn_attention.default)
def _cudnn_attention(_: Call) -> Iterator[int]:
    yield 256


@_of(_aten._scaled_dot_product_cudnn_attention_backward.default)
def _cudnn_attention_backward(call: Call) -> Iterator[int]:
    """What was measured: the gradient of the queries in 32 bits, a sum for each of their rows.

    Keys and values that heads share get gradients head by head, which are then added up.
    """
    query, key, value = call["query"], call["key"], call["value"]
    rows = math.prod(query.shape[:3])
    yield rows * query.shape[3] * 4 + rows * 4 + 256
    if key.shape[1] != query.shape[1]:
        shared = query.shape[1] // key.shape[1]
        yield _bytes(key) * shared
        yield _bytes(value) * shared


# Convolutions and batch norm of cuDNN, which alone decides.


@_of(_aten.convolution.default)
def _convolution(call: Call) -> Iterator[int]:
    yield convolution.forward_bytes(Convolution.of(call.given, call.made))


@_of(_aten.convolution_backward.default)
def _convolution_backward(call: Call) -> Iterator[int]:
    """The gradient of the samples first, then that of the weights."""
    convolved = Convolution.of(call.given, call["grad_output"])
    if call["output_mask"][0]:
        yield convolution.forward_bytes(replace(convolved, dilation=(1,)))
        yield _AND_THEN
    if call["output_mask"][1]:
        yield convolution.backward_bytes(convolved)


@_of(_aten.cudnn_batch_norm.default)
def _cudnn_batch_norm(call: Call) -> Iterator[int]:
    if call["training"] and _channels_are_last(call["input"]):
        yield int(3.24 * _places_by_channels(call["input"]))


@_of(_aten.cudnn_batch_norm_backward.default)
def _cudnn_batch_norm_backward(call: Call) -> Iterator[int]:
    if _channels_are_last(call["input"]):
        yield int(5.36 * _places_by_channels(call["input"]))


def _places_by_channels(samples: torch.Tensor) -> int:
    """How many places there are, for every 64 channels."""
    channels = samples.shape[1]
    return samples.numel() // channels * ceil_div(channels, 64)


# Recurrent layers: what cuDNN takes.


@_of(_aten._cudnn_rnn.default)
def _recurrent(call: Call) -> Iterator[int]:
    """The workspace, and samples laid out step by step."""
    yield _copy(_by_step(call))
    yield recurrent.workspace_bytes(call.given)


@_of(_aten._cudnn_rnn_backward.default)
def _recurrent_backward(call: Call) -> Iterator[int]:
    """Gradients that nobody gave are zeros; samples and gradients are laid out step by step."""
    for gradient, state in (("grad_hy", "hx"), ("grad_cy", "cx")):
        if call[gradient] is None and call[state] is not None:
            yield _bytes(call[state])
    yield _copy(_by_step(call))
    if call["grad_output"] is not None:
        yield _copy(_by_step(call, "grad_output"))
    yield recurrent.workspace_bytes(call.given)
    yield _AND_THEN
    yield _copy(_by_step(call))
    yield recurrent.workspace_bytes(call.given)


def _by_step(call: Call, name: str = "input") -> torch.Tensor:
    samples = call[name]
    padded = call["batch_first"] and not call["batch_sizes"]
    return samples.transpose(0, 1) if padded else samples


GUESSED: Final = {
    _aten.convolution.default,
    _aten.convolution_backward.default,
    _aten.cudnn_batch_norm.default,
    _aten.cudnn_batch_norm_backward.default,
    _aten._cudnn_rnn.default,
    _aten._cudnn_rnn_backward.default,
}
"""Operators whose rule is fitted to measurements."""
