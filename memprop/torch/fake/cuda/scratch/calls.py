"""What the kernel of an operator takes for itself in one call."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch

from memprop.cuda.gpus import GPU
from memprop.torch.fake.cuda.scratch import attention, cudnn, indexing, norms, reductions
from memprop.torch.fake.cuda.scratch.none import takes_nothing
from memprop.torch.fake.cuda.scratch.rules import AND_THEN, Call, Rule
from memprop.torch.record.schema import named_arguments
from memprop.torch.record.scratch import NO_SCRATCH, UNKNOWN_SCRATCH, Scratch

_aten: Final = torch.ops.aten

RULES: Final[dict[Any, Rule]] = {
    operator: rule
    for family in (reductions, norms, indexing, attention, cudnn)
    for operator, rule in family.RULES.items()
}
"""Every rule by its operator."""
PRODUCTS: Final = {
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
_DROPOUT_STATE: Final = 6488064
"""Bytes that cuDNN needs for the state of its random numbers on an H100, kept by PyTorch."""


def scratch_of(
    gpu: GPU, func: Any, args: Sequence[Any], kwargs: dict[str, Any], made: Any
) -> Scratch:
    """What the kernel of an operator takes for itself in one call."""
    if func in PRODUCTS:
        kept = ("cublas", gpu.cublas_workspace)
        with_bias = func is _aten.addmm.default and args[0].dim() == 1
        return Scratch(kept=(kept, ("cublasLt", _CUBLASLT)) if with_bias else (kept,))
    if func in _LAST_FIRST:
        return Scratch(last_first=True)
    rule = RULES.get(func)
    if rule is None:
        return NO_SCRATCH if takes_nothing(func) else UNKNOWN_SCRATCH
    call = Call(gpu=gpu, given=named_arguments(func, args, kwargs), made=made)
    drops = func is _aten._cudnn_rnn.default and call["dropout"] > 0
    return Scratch(
        stages=_stages(rule(call)),
        guessed=func in cudnn.RULES,
        kept=(("cudnn dropout", _DROPOUT_STATE),) if drops else (),
        late=_LATE.get(func, 0),
        while_used=func is _aten._cudnn_rnn.default,
    )


def _stages(sizes: Iterator[int]) -> tuple[tuple[int, ...], ...]:
    """The buffers of each part of a call; those of 0 bytes are none."""
    stages: list[list[int]] = [[]]
    for size in sizes:
        if size == AND_THEN:
            stages.append([])
        elif size > 0:
            stages[-1].append(size)
    return tuple(map(tuple, stages))
