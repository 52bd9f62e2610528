"""Cross entropy of a language model's logits, a part of the batch at a time."""

from collections.abc import Mapping
from typing import Any, Final

import torch

from memprop.checks import check_positive_integer
from memprop.errors import InvalidTypeError, InvalidValueError, unknown_name

CHUNKS = 8
REDUCTIONS = ("mean", "sum")

_SUM: Final = 2
"""PyTorch's number for this reduction."""


def chunked_cross_entropy(
    input: torch.Tensor,  # noqa: A002 - as in PyTorch's function
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    chunks: int = CHUNKS,
) -> torch.Tensor:
    """:func:`torch.nn.functional.cross_entropy`, computed for one part of the samples at a time.

    PyTorch's version keeps the log-probabilities for the backward pass and makes two more tensors
    of their size there. Under autocast it also keeps a float32 copy of the logits. This one keeps
    only the logits and works on one part at a time. The softmax is computed a second time in the
    backward pass. Gradients of the logits are those of PyTorch's function; the loss is added up in
    another order.

    Args:
        input: logits of shape ``(N, C)`` or ``(N, C, ...)``.
        target: classes of shape ``(N, ...)``, or probabilities of the shape of ``input``.
        weight: a factor for each class, of shape ``(C,)``.
        ignore_index: the class of samples that do not count.
        reduction: "mean" or "sum".
        label_smoothing: how much of the target goes to all classes alike, from 0 to 1.
        chunks: how many parts there are.

    Returns:
        The loss, a scalar.

    Raises:
        MempropError: an argument is wrong, ``target`` or ``weight`` needs a gradient, or a gradient
            is differentiated again.
        RuntimeError: it is called within a transformation of :mod:`torch.func`.

    >>> from torch.nn import functional
    >>> logits, classes = torch.randn(64, 1000), torch.randint(1000, (64,))
    >>> loss = functional.cross_entropy(logits, classes)
    >>> bool(torch.isclose(chunked_cross_entropy(logits, classes, chunks=4), loss))
    True
    """
    count = check_positive_integer("chunks", chunks)
    if reduction not in REDUCTIONS:
        raise unknown_name("reduction", reduction, REDUCTIONS)
    if not isinstance(input, torch.Tensor) or not isinstance(target, torch.Tensor):
        raise InvalidTypeError("input and target must be tensors, as of cross_entropy")
    if input.dim() < 2 or not target.dim() or input.shape[0] != target.shape[0]:
        raise InvalidValueError(
            "input must have the shape (N, C) or (N, C, ...), and target as many samples; got "
            f"{tuple(input.shape)} and {tuple(target.shape)}"
        )
    others = [one for one in (target, weight) if one is not None]
    if torch.is_grad_enabled() and any(one.requires_grad for one in others):
        raise InvalidValueError(
            "chunked_cross_entropy differentiates its logits alone, and target or weight needs a "
            "gradient: detach it, or use torch.nn.functional.cross_entropy"
        )
    if not target.is_floating_point():
        target = target.long()
    options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
    exact = torch.float64 if input.dtype == torch.float64 else torch.float32
    total = torch.ones((), dtype=exact, device=input.device)
    if reduction == "mean":
        total = _total_weight(input, target, weight, ignore_index).to(exact)
    return _Chunked.apply(input, target, weight, total, options, count)


def _total_weight(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, ignore_index: int
) -> torch.Tensor:
    """What the sum is divided by: the weights of all targets that count."""
    if target.is_floating_point():
        return torch.full((), logits.numel() / logits.shape[1], device=logits.device)
    counts = target != ignore_index
    if weight is None:
        return counts.sum()
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    return (wide[target.where(counts, 0)] * counts).sum()


class _Chunked(torch.autograd.Function):
    """Keeps logits, and goes through them once more in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        total: torch.Tensor,
        options: Mapping[str, Any],
        chunks: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(logits, target, weight, total)
        ctx.options, ctx.chunks, ctx.wide = options, chunks, _wide(logits)
        loss = torch.zeros_like(total)
        for part, classes in zip(logits.chunk(chunks), target.chunk(chunks), strict=True):
            loss += _sum(part.to(total.dtype), classes, weight, options)
        return (loss / total).to(ctx.wide)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():  # create_graph=True
            raise InvalidValueError(
                "chunked_cross_entropy has no second derivatives: use "
                "torch.nn.functional.cross_entropy where gradients are differentiated"
            )
        logits, target, weight, total = ctx.saved_tensors
        found = torch.empty_like(logits)
        chunks = (one.chunk(ctx.chunks) for one in (logits, target, found))
        for part, classes, place in zip(*chunks, strict=True):
            with torch.enable_grad():
                leaf = part.detach().to(ctx.wide).requires_grad_()
                loss = _sum(leaf, classes, weight, ctx.options)
            (own,) = torch.autograd.grad(loss, leaf, (gradient / total).to(ctx.wide))
            place.copy_(own)
            del leaf, loss, own
        return found, None, None, None, None, None


def _sum(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: Mapping[str, Any],
) -> torch.Tensor:
    if weight is not None:
        weight = weight.to(logits.dtype)
    if target.is_floating_point():
        target = target.to(logits.dtype)
    # What F.cross_entropy calls: that may have been replaced by this file's function.
    return torch.ops.aten.cross_entropy_loss(logits, target, weight, _SUM, **options)


def _wide(logits: torch.Tensor) -> torch.dtype:
    """The type in which the loss is computed: autocast has cross entropy in 32 bits."""
    is_cast = torch.is_autocast_enabled(logits.device.type) and logits.dtype != torch.float64
    return torch.float32 if is_cast else logits.dtype
