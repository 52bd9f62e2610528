"""Which kernel of CUDA does the attention of ``scaled_dot_product_attention``.

The choice is that of ``select_sdp_backend`` in transformers/cuda/sdp_utils.cpp, and what is done
before and after it is that of ``scaled_dot_product_attention`` in transformers/attention.cpp, both
in aten/src/ATen/native (PyTorch 2.11).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch.nn.functional import pad

from memprop.cuda.gpus import GPU

_aten: Final = torch.ops.aten
_HALVES: Final = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, kw_only=True)
class Call:
    """The arguments of one attention, as the operator has them."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    dropout: float
    causal: bool
    scale: float | None
    grouped: bool

    @property
    def operands(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values."""
        return self.query, self.key, self.value

    @property
    def needs_gradient(self) -> bool:
        """Whether backward will want the sums of the rows."""
        return torch.is_grad_enabled() and any(one.requires_grad for one in self.operands)


def attention_on(gpu: GPU) -> Callable[..., torch.Tensor]:
    """The operator as it runs on a GPU."""

    def scaled_dot_product_attention(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        call = Call(
            query=query,
            key=key,
            value=value,
            mask=attn_mask,
            dropout=dropout_p,
            causal=is_causal,
            scale=scale,
            grouped=enable_gqa,
        )
        name = kernel_of(call, gpu)
        run = _math if name is None else KERNELS[name][1]
        return run(replace(call, mask=_without_truth_values(call)))

    return scaled_dot_product_attention


def kernel_of(call: Call, gpu: GPU) -> str | None:
    """The name of the fused kernel that runs a call; ``None`` if it is made of other operators."""
    return next((name for name in _order(gpu) if KERNELS[name][0](call, gpu)), None)


def _order(gpu: GPU) -> tuple[str, ...]:
    """The kernels in the order in which they are tried (``priority_order``)."""
    if gpu.prefers_cudnn_attention:
        return ("cudnn", "flash", "efficient")
    return ("flash", "efficient", "cudnn")


def _without_truth_values(call: Call) -> torch.Tensor | None:
    """A mask of truth values as one of numbers to add (``convert_boolean_attn_mask``)."""
    mask = call.mask
    if mask is None or mask.dtype != torch.bool:
        return mask
    numbers = torch.zeros_like(mask, dtype=call.query.dtype)
    return numbers.masked_fill_(mask.logical_not(), float("-inf"))


def _is_dense(call: Call) -> bool:
    """Whether all operands have four dimensions, of which the last lies without gaps."""
    return all(
        one.dim() == 4 and (one.stride(-1) == 1 or one.shape[-1] == 1) and one.numel() > 0
        for one in call.operands
    )


def _heads_agree(call: Call, *, grouped: bool) -> bool:
    """Whether samples and heads are the same in all, or heads are in groups where that may be."""
    query, key, value = (one.shape for one in call.operands)
    if not query[0] == key[0] == value[0]:
        return False
    if grouped and call.grouped:
        return key[1] == value[1] and query[1] % key[1] == 0
    return query[1] == key[1] == value[1]


def _learns(mask: torch.Tensor | None) -> bool:
    """Whether a mask gets a gradient, as the biases of T5 do."""
    return mask is not None and mask.requires_grad and torch.is_grad_enabled()


def _is_square_if_causal(call: Call) -> bool:
    return not call.causal or call.query.shape[2] == call.key.shape[2]


def _cudnn_takes(call: Call, gpu: GPU) -> bool:
    """``can_use_cudnn_attention``."""
    heads = [one.shape[-1] for one in call.operands]
    return (
        torch.backends.cuda.cudnn_sdp_enabled()
        and torch.backends.cudnn.enabled
        and gpu.capability >= (8, 0)
        and _is_dense(call)
        and _heads_agree(call, grouped=True)
        and call.query.dtype in _HALVES
        and all(head % 8 == 0 and head <= gpu.widest_cudnn_head for head in heads)
        and not _learns(call.mask)
    )


def _flash_takes(call: Call, gpu: GPU) -> bool:
    """``can_use_flash_attention``."""
    heads = {one.shape[-1] for one in call.operands}
    return (
        torch.backends.cuda.flash_sdp_enabled()
        and gpu.capability >= (8, 0)
        and call.mask is None
        and call.query.dtype in _HALVES
        and _is_dense(call)
        and _heads_agree(call, grouped=True)
        and _is_square_if_causal(call)
        and len(heads) == 1
        and max(heads) <= 256
    )


def _efficient_takes(call: Call, gpu: GPU) -> bool:
    """``can_use_mem_efficient_attention``."""
    halves = call.query.dtype in _HALVES
    if call.query.dtype not in (*_HALVES, torch.float32):
        return False
    # minimum_gemm_alignment: what tensor cores load at once.
    unit = (8 if halves else 4) if gpu.capability >= (8, 0) or halves else 1
    return (
        torch.backends.cuda.mem_efficient_sdp_enabled()
        and gpu.capability >= (5, 0)
        and not (call.query.dtype == torch.bfloat16 and gpu.capability < (8, 0))
        and _is_dense(call)
        and _heads_agree(call, grouped=False)
        and not call.grouped
        and not _learns(call.mask)
        and call.query.shape[-1] % unit == 0
        and call.value.shape[-1] % unit == 0
    )


def _cudnn(call: Call) -> torch.Tensor:
    return _aten._scaled_dot_product_cudnn_attention.default(
        *call.operands,
        call.mask,
        call.needs_gradient,
        call.dropout,
        call.causal,
        False,
        scale=call.scale,
    )[0]


def _flash(call: Call) -> torch.Tensor:
    """Heads are padded to a multiple of eight numbers, and the result is cut again."""
    width = call.query.shape[-1]
    scale = width**-0.5 if call.scale is None else call.scale
    padded = [_padded(one, 8) for one in call.operands]
    output = _aten._scaled_dot_product_flash_attention.default(
        *padded, call.dropout, call.causal, False, scale=scale
    )[0]
    return output if output.shape[-1] == width else output[..., :width]


def _efficient(call: Call) -> torch.Tensor:
    mask = call.mask
    if mask is not None:
        mask = _aligned(mask).expand(*call.query.shape[:3], call.key.shape[2])
    return _aten._scaled_dot_product_efficient_attention.default(
        *call.operands, mask, call.needs_gradient, call.dropout, call.causal, scale=call.scale
    )[0]


def _math(call: Call) -> torch.Tensor:
    return _aten._scaled_dot_product_attention_math.default(
        *call.operands,
        call.mask,
        call.dropout,
        call.causal,
        None,
        scale=call.scale,
        enable_gqa=call.grouped,
    )[0]


def _padded(tensor: torch.Tensor, unit: int) -> torch.Tensor:
    """``pad_last_dim``."""
    rest = -tensor.shape[-1] % unit
    return tensor if rest == 0 else pad(tensor, (0, rest))


def _aligned(mask: torch.Tensor) -> torch.Tensor:
    """A mask whose rows begin at multiples of eight numbers (``pad_bias``)."""
    if mask.shape[-1] % 8 == 0 and all(stride % 8 == 0 for stride in mask.stride()[:-1]):
        return mask
    return _padded(mask, 8)[..., : mask.shape[-1]]


KERNELS: Final = {
    "cudnn": (_cudnn_takes, _cudnn),
    "flash": (_flash_takes, _flash),
    "efficient": (_efficient_takes, _efficient),
}
