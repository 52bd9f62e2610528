"""Where what CUDA's kernels return differs from what fake kernels say for the CPU."""

from collections.abc import Callable
from typing import Any, Final

import torch

from memprop.torch.fake.cuda import recurrent

_aten: Final = torch.ops.aten


def _counts(given: dict[str, Any]) -> torch.Tensor:
    """A histogram, of integers too (cuda/SummaryOps.cu), which the CPU does not make."""
    return given["self"].new_empty(given["bins"])


INSTEAD: Final[dict[Any, Callable[[dict[str, Any]], Any]]] = {
    _aten.histc.default: _counts,
    _aten._cudnn_rnn.default: recurrent.forward,
    _aten._cudnn_rnn_backward.default: recurrent.backward,
}
"""Operators that have no fake kernel, or one that knows no sizes: what they return."""


def _wide_statistics(given: dict[str, Any], result: Any) -> Any:
    """Statistics of 16-bit samples have 32 bits (cuda/Normalization.cuh, layer_norm_kernel.cu)."""
    output, mean, deviation, *rest = result
    if given["input"].element_size() > 2:
        return result
    return (output, mean.float(), deviation.float(), *rest)


def _laid_out_as_input(given: dict[str, Any], result: Any) -> Any:
    """The gradient of the samples lies as they do."""
    gradient, *rest = result
    return (None if gradient is None else torch.empty_like(given["input"]), *rest)


def _laid_out_as_gradient(given: dict[str, Any], result: Any) -> Any:
    """TensorIterator lays a result out as its first operand."""
    return torch.empty_like(given["grad_output"], dtype=result.dtype)


def _no_largest(given: dict[str, Any], result: Any) -> Any:
    """``_embedding_bag`` in cuda/EmbeddingBag.cu notes where largest values are for them alone."""
    *rest, largest = result
    return (*rest, largest if given["mode"] == _LARGEST else largest.new_empty(0))


_LARGEST: Final = 2
"""The mode of embedding bags that takes the largest values."""

ON_CUDA: Final[dict[Any, Callable[[dict[str, Any], Any], Any]]] = {
    _aten.native_layer_norm.default: _wide_statistics,
    _aten.native_batch_norm.default: _wide_statistics,
    _aten.cudnn_batch_norm.default: _wide_statistics,
    _aten.native_batch_norm_backward.default: _laid_out_as_input,
    _aten.hardswish_backward.default: _laid_out_as_gradient,
    _aten._embedding_bag.default: _no_largest,
}
"""Corrections of what fake kernels return, given the arguments by name and the results."""
