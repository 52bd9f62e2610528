"""Operators that PyTorch makes of others, where what it makes depends on the device.

And on who watches: where modes of Python are active, as in a simulation, some are made so that no
result is written over (``isTensorSubclassLike`` in their sources). A step that nobody watches
writes over it.
"""

from typing import Final

import torch

_aten: Final = torch.ops.aten


def dropout(input: torch.Tensor, p: float, train: bool) -> torch.Tensor:  # noqa: A002
    """``dropout`` in aten/src/ATen/native/Dropout.cpp: one kernel that keeps a mask of bytes.

    ``is_fused_kernel_acceptable`` says where.
    """
    if not train or p == 0 or input.numel() == 0:
        return input
    if p == 1:
        return input * torch.zeros((), dtype=input.dtype)
    return _aten.native_dropout.default(input, p, train)[0]


def linear(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """``linear`` in aten/src/ATen/native/Linear.cpp: a bias is added in the product or in place."""
    if bias is None:
        return torch.matmul(input, weight.t())
    if input.dim() == 2:
        return torch.addmm(bias, input, weight.t())
    if input.dim() == 3 and input.is_contiguous():
        flat = torch.addmm(bias, input.reshape(-1, input.shape[-1]), weight.t())
        return flat.view(*input.shape[:-1], flat.shape[-1])
    return torch.matmul(input, weight.t()).add_(bias)
