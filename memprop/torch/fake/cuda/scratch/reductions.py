"""Sums and their kin: aten/src/ATen/native/ReduceOps.cpp and cuda/Reduce*.cu; losses."""

from collections.abc import Iterator, Sequence
from typing import Final

import torch

from memprop.cuda.gpus import GPU
from memprop.cuda.reduction import reduction_scratch
from memprop.torch.fake.cuda.scratch.rules import Call, Rules, bytes_of

_aten: Final = torch.ops.aten
RULES: Final = Rules()


def reduction(
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


@RULES.of(_aten.sum.dim_IntList, _aten.sum.default, _aten.mean.dim, _aten.mean.default)
def _sum(call: Call) -> Iterator[int]:
    """An operand of another type is cast first, but not 16 bits to 32 (``make_reduction``)."""
    operand, result = call["self"], call.made
    lifted = operand.element_size() == 2 and result.dtype == torch.float32
    cast = operand.dtype != result.dtype and not lifted
    if cast:
        yield bytes_of(operand, result.element_size())
    yield from reduction(
        call.gpu,
        operand,
        _dims(call),
        accumulator=8 if result.dtype in _WIDE else 4,
        itemsize=result.element_size() if cast else None,
    )


@RULES.of(
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
    yield from reduction(call.gpu, call["self"], _dims(call))


@RULES.of(_aten.cumsum.default, _aten.cumprod.default)
def _cumulated(call: Call) -> Iterator[int]:
    """ReduceOps.cpp casts an operand of another type."""
    if call["self"].dtype != call.made.dtype:
        yield bytes_of(call["self"], call.made.element_size())


@RULES.of(_aten.mse_loss.default, _aten.smooth_l1_loss.default, _aten.soft_margin_loss.default)
def _loss(call: Call) -> Iterator[int]:
    """The losses of all elements, beside the output that was made as large (BinaryOps.cpp)."""
    if call["reduction"] != 0:
        yield bytes_of(call["self"])
        yield from reduction(call.gpu, call["self"], None)


@RULES.of(_aten.huber_loss.default)
def _huber(call: Call) -> Iterator[int]:
    if call["reduction"] != 0:
        yield bytes_of(call["self"])


@RULES.of(_aten.binary_cross_entropy_with_logits.default)
def _binary_cross_entropy(call: Call) -> Iterator[int]:
    """Loss.cpp: the losses, and the logarithm of the sigmoid."""
    yield bytes_of(call["self"])
    yield bytes_of(call["self"])
