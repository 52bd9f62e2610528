"""The types that ``torch.autocast("cuda")`` gives operators, where those of the CPU differ.

The lists are those of aten/src/ATen/autocast_mode.h (PyTorch 2.11): the first of the names
below are its macros. What is in the list of lower precision of both devices is left to PyTorch.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch.utils._pytree import tree_map_only

from memprop.torch.record.schema import tensors

_aten: Final = torch.ops.aten
_KEY: Final = torch._C.DispatchKey.AutocastCPU
_BELOW: Final = torch._C.DispatchKeySet(_KEY)

_FP32: Final = [
    "acos",
    "asin",
    "cosh",
    "erfinv",
    "exp",
    "expm1",
    "log",
    "log10",
    "log2",
    "log1p",
    "reciprocal",
    "rsqrt",
    "sinh",
    "tan",
    "pow.Tensor_Scalar",
    "pow.Tensor_Tensor",
    "pow.Scalar",
    "softplus",
    "layer_norm",
    "native_layer_norm",
    "rms_norm",
    "group_norm",
    "frobenius_norm.dim",
    "nuclear_norm",
    "nuclear_norm.dim",
    "cosine_similarity",
    "poisson_nll_loss",
    "cosine_embedding_loss",
    "nll_loss",
    "nll_loss2d",
    "hinge_embedding_loss",
    "kl_div",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "mse_loss",
    "margin_ranking_loss",
    "multilabel_margin_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "multi_margin_loss",
    "binary_cross_entropy_with_logits",
    "dist",
    "pdist",
    "cdist",
    "renorm",
    "logsumexp",
    "upsample_nearest1d",
    "_upsample_nearest_exact1d",
    "upsample_nearest2d",
    "_upsample_nearest_exact2d",
    "upsample_nearest3d",
    "_upsample_nearest_exact3d",
    "upsample_linear1d",
    "upsample_bilinear2d",
    "_upsample_bilinear2d_aa",
    "upsample_trilinear3d",
    "upsample_bicubic2d",
    "_upsample_bicubic2d_aa",
    "norm.Scalar",
    "norm.ScalarOpt_dim",
]
"""Operators that compute in 32 bits; the last two are those of another redispatch signature."""
_FP32_SET_OPT_DTYPE: Final = [
    "prod",
    "prod.dim_int",
    "softmax.int",
    "log_softmax.int",
    "cumprod",
    "cumsum",
    "linalg_vector_norm",
    "linalg_matrix_norm",
    "linalg_matrix_norm.str_ord",
    "sum",
    "sum.dim_IntList",
]
"""Operators that are told to return 32 bits, unless they are told another type."""
_PROMOTE: Final = [
    "addcdiv",
    "addcmul",
    "atan2",
    "bilinear",
    "cross",
    "dot",
    "vdot",
    "grid_sampler",
    "index_put",
    "tensordot",
    "scatter_add",
]
"""Operators that compute in the widest type that they are given."""
_LOWER_PRECISION: Final = [
    "_convolution.deprecated",
    "_convolution",
    "convolution",
    "prelu",
    "addmv",
    "addr",
    "einsum",
    "mv",
    "chain_matmul",
    "linalg_multi_dot",
    "_thnn_fused_lstm_cell",
    "_thnn_fused_gru_cell",
    "lstm_cell",
    "gru_cell",
    "rnn_tanh_cell",
    "rnn_relu_cell",
]
"""Operators that compute in 16 bits on CUDA, and that the CPU leaves alone."""


def autocast_of_cuda() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Operators by name, each with what autocast makes of it on CUDA."""
    policies = {name: policy for names, policy in _POLICIES for name in names}
    for name, policy in policies.items():
        yield name, policy(_operator(name))
    for name in _only_on_the_cpu(policies):
        yield name, torch.library.fallthrough_kernel


def _operator(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(_aten, packet), overload or "default")


def _only_on_the_cpu(policies: dict[str, Any]) -> Iterator[str]:
    """Operators that autocast changes on the CPU, and leaves alone on CUDA."""
    for full in torch._C._dispatch_get_registrations_for_dispatch_key("AutocastCPU"):
        name = full.removeprefix("aten::")
        on_cuda = torch._C._dispatch_has_kernel_for_dispatch_key(full, "AutocastCUDA")
        if full.startswith("aten::") and name not in policies and not on_cuda:
            yield name


def _below_autocast(operator: Any) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_BELOW):
            return operator(*args, **kwargs)

    return run


def _cast_to(dtype: Callable[[Any], torch.dtype]) -> Callable[[Any], Callable[..., Any]]:
    """The policy that casts all operands to the type that a function finds for them."""

    def policy(operator: Any) -> Callable[..., Any]:
        run = _below_autocast(operator)

        def cast(*args: Any, **kwargs: Any) -> Any:
            wanted = dtype((args, kwargs))
            args, kwargs = tree_map_only(torch.Tensor, lambda t: _cast(t, wanted), (args, kwargs))
            return run(*args, **kwargs)

        return cast

    return policy


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """``cached_cast``: numbers of 64 bits stay as they are."""
    if not tensor.is_floating_point() or tensor.dtype in (torch.float64, dtype):
        return tensor
    with torch._C._ExcludeDispatchKeyGuard(_BELOW):
        return tensor.to(dtype)


def _widest(given: Any) -> torch.dtype:
    """``promote_type``: 32 bits if any operand has them, else the type of autocast."""
    wide = any(tensor.dtype == torch.float32 for tensor in tensors(given))
    return torch.float32 if wide else torch.get_autocast_dtype("cpu")


def _set_opt_dtype(operator: Any) -> Callable[..., Any]:
    """``fp32_set_opt_dtype``: the argument ``dtype``, for operands of 16 bits."""
    run = _below_autocast(operator)

    def told(*args: Any, **kwargs: Any) -> Any:
        halves = isinstance(args[0], torch.Tensor) and args[0].dtype in (
            torch.float16,
            torch.bfloat16,
        )
        names = [one.name for one in operator._schema.arguments]
        place = names.index("dtype")
        given = args[place] if place < len(args) else kwargs.get("dtype")
        if halves and given is None:
            kwargs = {**kwargs, "dtype": torch.float32}
            args = args[:place]
        return run(*args, **kwargs)

    return told


_POLICIES: Final = (
    (_FP32, _cast_to(lambda _: torch.float32)),
    (_FP32_SET_OPT_DTYPE, _set_opt_dtype),
    (_PROMOTE, _cast_to(_widest)),
    (_LOWER_PRECISION, _cast_to(lambda _: torch.get_autocast_dtype("cpu"))),
)
