"""Kernels that are known to take nothing for themselves."""

from functools import cache
from typing import Any, Final

import torch

MEASURED: Final = frozenset(
    {
        "_adaptive_avg_pool2d",
        "_adaptive_avg_pool2d_backward",
        "_embedding_bag",
        "_prelu_kernel",
        "_prelu_kernel_backward",
        "_scaled_dot_product_efficient_attention",
        "_to_copy",
        "_unsafe_view",
        "_weight_norm_interface",
        "_weight_norm_interface_backward",
        "as_strided_",
        "avg_pool2d",
        "avg_pool2d_backward",
        "bernoulli_",
        "cat",
        "constant_pad_nd",
        "copy_",
        "elu_backward",
        "fill_",
        "gather",
        "hardsigmoid_backward",
        "hardswish_",
        "hardswish_backward",
        "index_add_",
        "index_select",
        "leaky_relu_backward",
        "masked_fill_",
        "max_pool2d_with_indices",
        "max_pool2d_with_indices_backward",
        "max_pool3d_with_indices",
        "max_pool3d_with_indices_backward",
        "mish_backward",
        "mse_loss_backward",
        "native_dropout",
        "nll_loss2d_backward",
        "nll_loss2d_forward",
        "nll_loss_backward",
        "nll_loss_forward",
        "repeat",
        "select_backward",
        "slice_backward",
        "stack",
    }
)
"""Operators whose calls on an H100 took nothing: tests/cuda/recordings/h100/operators.json.gz."""
_MAKERS: Final = frozenset(
    {
        "arange",
        "empty",
        "empty_like",
        "empty_strided",
        "eye",
        "full",
        "full_like",
        "new_empty",
        "new_empty_strided",
        "new_full",
        "new_ones",
        "new_zeros",
        "ones",
        "ones_like",
        "rand",
        "rand_like",
        "randint",
        "randn",
        "randn_like",
        "scalar_tensor",
        "zero_",
        "zeros",
        "zeros_like",
        "lift_fresh",
        "normal_",
        "uniform_",
    }
)
"""Operators that only fill what they return."""
_ITERATED: Final = frozenset(
    {
        "softplus_backward",  # ActivationSoftplusKernel.cu
        "smooth_l1_loss_backward",  # PointwiseOpsKernel.cu
        "huber_loss_backward",  # PointwiseOpsKernel.cu
        "flip",  # IndexKernel.cu
        "floor_divide",  # BinaryDivFloorKernel.cu
        "scatter",  # ScatterGatherKernel.cu, into a copy that is the result
        "scatter_",
        "scatter_add",
        "scatter_add_",
    }
)
"""Operators that PyTorch's source computes element by element, and that it does not mark so."""
_OF_SCALERS: Final = {"_amp_foreach_non_finite_check_and_unscale_", "_amp_update_scale_"}
"""Those of a scaler of gradients write to what they are given: cuda/AmpKernels.cu."""
_KNOWN: Final = MEASURED | _MAKERS | _ITERATED | _OF_SCALERS | {"_local_scalar_dense"}
_NO_KERNELS: Final = ("profiler", "prim")
"""Namespaces of what is no work on tensors."""


@cache
def takes_nothing(func: Any) -> bool:
    """Whether it is known that the kernel of an operator takes nothing for itself.

    Elementwise kernels write their result as they read their operands (TensorIterator), and so do
    those that update many tensors at once.
    """
    if func.namespace in _NO_KERNELS or func.is_view or torch.Tag.pointwise in func.tags:
        return True
    if func.namespace != "aten":
        return False
    name = func.name().partition("::")[2].partition(".")[0]
    at_once = name.startswith(("_foreach_", "_fused_"))
    return at_once or name in _KNOWN
