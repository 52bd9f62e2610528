"""A call of an operator as data: all that decides how long it takes, and no tensor."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

Where = Callable[[torch.Tensor], str]
"""Tells the device of a tensor."""


class TensorKind(NamedTuple):
    """A tensor without its numbers.

    Attributes:
        dtype: the type of its numbers.
        size: its shape.
        stride: how many numbers lie between neighbours, in each dimension.
        device: where it is, as "cuda:0".
    """

    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]
    device: str

    @classmethod
    def of(cls, tensor: torch.Tensor, where: Where) -> "TensorKind":
        """The kind that a tensor is of."""
        return cls(tensor.dtype, tuple(tensor.size()), tensor.stride(), where(tensor))

    @property
    def length(self) -> int:
        """How many numbers its storage must have."""
        if 0 in self.size:
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))

    @property
    def bytes(self) -> int:
        """Of its storage."""
        return self.length * self.dtype.itemsize


class Opaque(NamedTuple):
    """An argument that cannot be made anew.

    Attributes:
        kind: what it is, in words.
    """

    kind: str


@dataclass(frozen=True)
class CallKind:
    """What alike calls have in common.

    Attributes:
        operator: the operator.
        args: its arguments by place, a :class:`TensorKind` for each tensor.
        kwargs: those by name, sorted.
    """

    operator: Any
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, func: Any, args: Sequence[Any], kwargs: dict[str, Any], where: Where) -> "CallKind":
        """The kind of a call."""
        named = tuple((name, _kind(kwargs[name], where)) for name in sorted(kwargs))
        return cls(func, tuple(_kind(one, where) for one in args), named)

    @property
    def key(self) -> str:
        """A short text that is another one for each other kind."""
        text = repr((self.args, self.kwargs)).encode()
        return f"{self.operator} {hashlib.blake2b(text, digest_size=12).hexdigest()}"

    @property
    def tensors(self) -> list[TensorKind]:
        """The operands."""
        return list(_tensors((self.args, self.kwargs)))

    @property
    def device(self) -> str:
        """Where it runs: where its operands are, on a GPU if some are there."""
        places = {tensor.device for tensor in self.tensors} - {"meta"}
        return max(places, default="cpu", key=lambda place: (place != "cpu", place))


@dataclass(frozen=True, kw_only=True)
class AskedCall:
    """One call in a step.

    Attributes:
        kind: of the call.
        begin: the number of the event at which it began.
        flops: of one run.
        moved_bytes: read and written.
        is_product: whether most of its work are products of matrices.
    """

    kind: CallKind
    begin: int
    flops: int
    moved_bytes: int
    is_product: bool

    @property
    def dtype(self) -> torch.dtype:
        """In which it computes: the type of the first operand that has a fraction."""
        types = (tensor.dtype for tensor in self.kind.tensors)
        return next((dtype for dtype in types if dtype.is_floating_point), torch.float32)


def _kind(value: Any, where: Where) -> Any:
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_conj() or value.is_neg():
            return Opaque(f"a tensor of layout {value.layout}, or one that is not there yet")
        return TensorKind.of(value, where)
    if isinstance(value, list | tuple):
        return tuple(_kind(one, where) for one in value)
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, torch.Generator):
        return None  # which numbers it draws makes no difference
    return Opaque(type(value).__name__)


_PLAIN = (
    *(bool, int, float, complex, str),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)


def _tensors(tree: Any) -> Any:
    if isinstance(tree, TensorKind):
        yield tree
    elif isinstance(tree, tuple):
        for one in tree:
            yield from _tensors(one)
