"""The floating-point operations of one call of an operator."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from memprop.torch.record.schema import named_arguments

_aten: Final = torch.ops.aten
_GATES: Final = (1, 1, 4, 3)
"""By mode: ReLU, tanh, LSTM, GRU (``cudnnRNNMode_t``, which oneDNN's operators share)."""


def flops_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
    """FLOPs of a call: matrix products, convolutions and attention by PyTorch's own formulas.

    A fused recurrent layer counts the products with its weights. Any other operator counts one for
    each element that it makes. One that returns nothing, as an optimizer's update of many tensors,
    counts one for each element of its first argument.
    """
    formula = flop_registry.get(func._overloadpacket)
    if formula is not None:
        return int(formula(*args, **kwargs, out_val=result))
    own = _FORMULAS.get(func._overloadpacket)
    if own is not None:
        return own(named_arguments(func, args, kwargs))
    if isinstance(result, torch.Tensor):
        return result.numel()
    made = args[:1] if result is None else result
    return sum(found.numel() for found in tree_leaves(made) if isinstance(found, torch.Tensor))


def is_product(func: Any) -> bool:
    """Whether most of an operator's work are products of matrices."""
    return func._overloadpacket in flop_registry or func._overloadpacket in _FORMULAS


def _attention(given: Mapping[str, Any]) -> int:
    shapes = (given[name].shape for name in ("query", "key", "value"))
    return int(sdpa_flop_count(*shapes))


def _attention_backward(given: Mapping[str, Any]) -> int:
    shapes = (given[name].shape for name in ("grad_out", "query", "key", "value"))
    return int(sdpa_backward_flop_count(*shapes))


def _onednn_layer(given: Mapping[str, Any]) -> int:
    """Of one layer in one direction: each gate is a product with the input and one with the state.

    Hochreiter and Schmidhuber (1997) in the form of ``torch.nn.LSTM``'s documentation.
    """
    steps, batch, width = given["input"].shape
    hidden = given["hidden_size"]
    return 2 * _GATES[given["mode"]] * hidden * (width + hidden) * steps * batch


def _cudnn_layers(given: Mapping[str, Any]) -> int:
    """Of all layers in all directions: a product with each matrix for each step and sample."""
    samples = given["input"].shape[:-1].numel()
    return 2 * samples * sum(one.numel() for one in given["weight"] if one.dim() == 2)


def _twice(forward: Callable[[Mapping[str, Any]], int]) -> Callable[[Mapping[str, Any]], int]:
    """A backward pass has two products for each: for the gradients of both of its factors."""
    return lambda given: 2 * forward(given)


_FORMULAS: Final[Mapping[Any, Callable[[Mapping[str, Any]], int]]] = {
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    _aten.mkldnn_rnn_layer: _onednn_layer,
    _aten.mkldnn_rnn_layer_backward: _twice(_onednn_layer),
    _aten._cudnn_rnn: _cudnn_layers,
    _aten._cudnn_rnn_backward: _twice(_cudnn_layers),
}
"""What PyTorch's registry lacks."""
