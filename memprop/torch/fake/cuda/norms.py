"""Batch norm and its kin as CUDA runs them: cuDNN where that can, else PyTorch's own kernels.

From ``_batch_norm_impl_index`` in aten/src/ATen/native/Normalization.cpp and ``rms_norm_symint`` in
layer_norm.cpp (PyTorch 2.11).
"""

from typing import Final

import torch

_aten: Final = torch.ops.aten
_LEAST_EPSILON: Final = 1e-5
"""CUDNN_BN_MIN_EPSILON, below which cuDNN refuses."""


def batch_norm(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> torch.Tensor:
    """The operator of the same name."""
    statistics = running_mean is not None and running_var is not None
    lacking = running_mean is None and running_var is None and training
    if (
        cudnn_enabled
        and input.numel() > 0
        and weight is not None
        and bias is not None
        and (statistics or lacking)
        and eps >= _LEAST_EPSILON
        and _cudnn_takes(input, weight, training=training)
    ):
        laid_out = input.contiguous(memory_format=_format_of(input))
        return _aten.cudnn_batch_norm.default(
            laid_out, weight, bias, running_mean, running_var, training, momentum, eps
        )[0]
    return _aten.native_batch_norm.default(
        input, weight, bias, running_mean, running_var, training, momentum, eps
    )[0]


def _cudnn_takes(tensor: torch.Tensor, weight: torch.Tensor, *, training: bool) -> bool:
    if torch.bfloat16 in (tensor.dtype, weight.dtype):
        return False
    if tensor.dtype == torch.float16 and weight.dtype != torch.float32:
        return False
    by_element = tensor.dim() == 2
    most = {(True, True): 131070, (True, False): 262136, (False, True): 880801}
    return tensor.shape[0] <= most.get((by_element, training), 65535)


def _format_of(tensor: torch.Tensor) -> torch.memory_format:
    """``suggest_memory_format``."""
    for dims, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        last = tensor.dim() == dims and tensor.is_contiguous(memory_format=layout)
        if last and not tensor.is_contiguous():
            return layout
    return torch.contiguous_format


def rms_norm(
    input: torch.Tensor,  # noqa: A002
    normalized_shape: list[int],
    weight: torch.Tensor | None = None,
    eps: float | None = None,
) -> torch.Tensor:
    """The operator of the same name, in one kernel."""
    return _aten._fused_rms_norm.default(input, normalized_shape, weight, eps)[0]
