"""Where PyTorch's fake kernels and its real ones differ in what they keep.

Found by running PyTorch's own table of operators both ways (``tests/torch_adapter/test_op_db.py``).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch

from memprop.torch.fake.cuda.kernels import INSTEAD, ON_CUDA
from memprop.torch.fake.recurrent import workspace_bytes
from memprop.torch.fake.remembered import remembered
from memprop.torch.record.schema import named_arguments, operands, with_operands

_aten: Final = torch.ops.aten
_GROUPED_MM: Final = getattr(getattr(_aten, "_grouped_mm", None), "default", None)
"""Earlier versions of PyTorch have no such operator."""


def faked(func: Any, args: Sequence[Any], kwargs: dict[str, Any], *, cuda: bool = False) -> Any:
    """What an operator returns on fake tensors, as its real kernel would.

    Args:
        func: the operator.
        args: its arguments by place.
        kwargs: its arguments by name.
        cuda: whether fake tensors of the CPU stand for those of CUDA.
    """
    if cuda and func in INSTEAD:
        return INSTEAD[func](named_arguments(func, args, kwargs))
    if func is _GROUPED_MM and args[0].dtype != torch.bfloat16:
        return _grouped_mm(func, args, kwargs)

    def run() -> Any:
        return _corrected(func, args, kwargs, func(*args, **kwargs), cuda=cuda)

    return run() if cuda and func in _ON_CUDA else remembered(func, args, kwargs, run, cuda)


def _grouped_mm(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The fake kernel takes 16 bits only; the real one, of a mixture of experts, others too."""
    narrow = with_operands(lambda t: t.bfloat16() if t.is_floating_point() else t, args, kwargs)
    result = func(*narrow[0], **narrow[1])
    return torch.empty_like(result, dtype=args[0].dtype)


def _corrected(
    func: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any, *, cuda: bool
) -> Any:
    """What a fake kernel returned, as the real kernel returns it."""
    tables = [table for table in (_ANYWHERE, _ON_CUDA if cuda else _ON_CPU) if func in table]
    if not tables:
        return result
    named = named_arguments(func, args, kwargs)
    on_cpu = operands(args, kwargs)[0].device.type == "cpu"
    for table in tables:
        if table is not _ON_CPU or on_cpu:
            result = table[func](named, result)
    return result


_Arguments = dict[str, Any]


def _norm(given: _Arguments, result: Any) -> Any:
    """A norm of 16-bit samples by 32-bit parameters, which is what autocast makes of it.

    It keeps its mean and its deviation in 32 bits; the fake kernel says 16.
    """
    output, mean, deviation = result
    weight = given["weight"]
    if weight is None:
        return result
    return output, mean.to(weight.dtype), deviation.to(weight.dtype)


def _norm_backward(given: _Arguments, result: Any) -> Any:
    """The gradient of 16-bit samples has 16 bits; the fake kernel says 32.

    Those of the parameters are new and contiguous; a fake one may be a view that was expanded.
    """
    gradient, *rest = result
    if gradient is not None:
        gradient = gradient.to(given["input"].dtype)
    return (gradient, *(None if one is None else one.new_empty(one.shape) for one in rest))


def _contiguous(_: _Arguments, result: Any) -> Any:
    """The backward kernel of layer norm makes contiguous gradients of whatever it is given.

    The fake one keeps the strides (aten/src/ATen/native/layer_norm.cpp has the real ones).
    """
    return tuple(one if one is None else one.contiguous() for one in result)


def _attention(_: _Arguments, result: Any) -> Any:
    """No weights were asked for: the fake kernel returns empty ones, the real kernel none."""
    output, weights = result
    return output, None if weights is None or weights.numel() == 0 else weights


def _lstm(given: _Arguments, result: Any) -> Any:
    """The fake kernel returns an empty workspace; the real one has none without gradients."""
    if not torch.is_grad_enabled():
        return (*result[:3], None)
    steps, batch, inputs = given["input"].shape
    size = workspace_bytes(
        steps, batch, inputs, given["hidden_size"], given["input"].element_size()
    )
    return (*result[:3], result[3].new_empty(size))


def _lstm_backward(_: _Arguments, result: Any) -> Any:
    """The fake kernel returns one gradient for both biases, the real kernel two.

    All are of 32 bits, which the fake kernels of some versions of PyTorch do not say.
    """
    wide = [one.float() for one in result]
    return (*wide[:4], torch.empty_like(wide[4]), *wide[5:])


def _loss(given: _Arguments, result: Any) -> Any:
    """The real kernel reduces in the buffer of the losses of all elements, and keeps it.

    The structured kernels in aten/src/ATen/native/BinaryOps.cpp and Loss.cpp, and those in
    cuda/Loss.cu, write the losses into their output, which they then resize to a scalar.
    """
    if given["reduction"] == 0:
        return result
    shape = torch.broadcast_shapes(given["self"].shape, given["target"].shape)
    return _in_storage_of(max(shape.numel(), 1), result)


def _embedding_bag(given: _Arguments, result: Any) -> Any:
    """``make_offset2bag_out`` in aten/src/ATen/native/EmbeddingBag.cpp.

    The fast way to a sum does not need the number of the bag of each index; the fake kernel takes
    that way for fewer types. Elsewhere these numbers have one element more until they are resized.
    """
    output, bags, sizes, *rest = result
    weight, scale = given["weight"], given["per_sample_weights"]
    fast = (
        given["mode"] == 0
        and weight.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and weight.stride(1) == 1
        and output.stride(1) == 1
        and given["padding_idx"] < 0
        and (scale is None or scale.stride(0) == 1)
    )
    count = given["indices"].shape[0]
    bags = bags.new_empty(0) if fast else _in_storage_of(count + 1, bags.new_empty(count))
    # One size for each offset, until the last one is cut off where it is the end.
    sizes = _in_storage_of(given["offsets"].numel(), sizes) if sizes.numel() else sizes
    return (output, bags, sizes, *rest)


def _scattered(_: _Arguments, result: Any) -> Any:
    """An operand whose elements overlap, as those of an expanded one, gets memory of its own.

    PyTorch 2.11's fake kernels keep the overlap.
    """
    overlaps = any(
        stride == 0 and size > 1 for stride, size in zip(result.stride(), result.shape, strict=True)
    )
    return result.contiguous() if overlaps else result


def _unpooled(given: _Arguments, result: Any) -> Any:
    """The real kernel keeps the memory format of its operand."""
    channels_last = torch.channels_last
    if given["self"].dim() == 4 and given["self"].is_contiguous(memory_format=channels_last):
        return torch.empty_like(result, memory_format=channels_last)
    return result


def _multilabel_loss(given: _Arguments, result: Any) -> Any:
    """The loss of a single sample has no dimension (LossMultiLabelMargin.cpp)."""
    if given["reduction"] == 0 and given["target"].dim() > 1:
        return result
    return result[0].new_empty(()), result[1]


def _columns(given: _Arguments, result: Any) -> Any:
    """Im2Col.cpp and Col2Im.cpp resize an output that was made as large as what they are given."""
    larger = max(given["self"].numel(), result.numel())
    return _in_storage_of(larger, result)


def _in_storage_of(elements: int, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor like ``tensor`` in a storage of so many elements."""
    return tensor.new_empty(elements).as_strided(tensor.shape, tensor.stride())


_Correction = Callable[[_Arguments, Any], Any]

_ANYWHERE: Final[dict[Any, _Correction]] = {
    _aten.native_layer_norm_backward.default: _contiguous,
    _aten.select_scatter.default: _scattered,
    _aten.slice_scatter.default: _scattered,
    _aten.diagonal_scatter.default: _scattered,
    _aten.mse_loss.default: _loss,
    _aten.smooth_l1_loss.default: _loss,
    _aten.soft_margin_loss.default: _loss,
    _aten.binary_cross_entropy.default: _loss,
}
_ON_CPU: Final[dict[Any, _Correction]] = {
    _aten.native_batch_norm.default: _norm,
    _aten.native_group_norm.default: _norm,
    _aten.native_layer_norm.default: _norm,
    _aten.native_group_norm_backward.default: _norm_backward,
    _aten.native_layer_norm_backward.default: _norm_backward,
    _aten._native_multi_head_attention.default: _attention,
    _aten.mkldnn_rnn_layer.default: _lstm,
    _aten.mkldnn_rnn_layer_backward.default: _lstm_backward,
    _aten.multilabel_margin_loss_forward.default: _multilabel_loss,
    _aten._embedding_bag.default: _embedding_bag,
    _aten._embedding_bag_forward_only.default: _embedding_bag,
    _aten.im2col.default: _columns,
    _aten.col2im.default: _columns,
    _aten.max_unpool2d.default: _unpooled,
}
_ON_CUDA: Final = ON_CUDA | {_aten.native_group_norm.default: _norm}
"""Where fake tensors of the CPU stand for those of CUDA; both run the same group norm."""
