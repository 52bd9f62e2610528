"""What fake kernels return, worked out once for operands that look alike.

A step has a few dozen kinds of calls, and each of its layers makes them again. PyTorch's fake
tensors remember results too, with keys that take longer to make than these: all symbolic shapes,
subclasses and layouts have a place in them. Here such calls are run each time.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._mode_utils import no_dispatch

MOST: Final = 50_000
"""How many calls are remembered. Then all are forgotten."""

_PLAIN: Final = frozenset(
    {
        *(int, float, bool, complex, str, type(None)),
        *(torch.dtype, torch.device, torch.layout, torch.memory_format),
    }
)
"""Arguments that say all by being equal, and of one type."""

_NOT_TWICE: Final = (
    torch.Tag.data_dependent_output,
    torch.Tag.dynamic_output_shape,
    torch.Tag.inplace_view,
)

_Key = tuple[Any, ...]


@dataclass(frozen=True)
class _Tensor:
    """A tensor that a call returned.

    Attributes:
        dtype: of its elements.
        size: of each dimension.
        stride: of each dimension.
        offset: where in its storage it begins.
        device: where it claims to be.
        is_view: whether its storage is that of the only operand.
    """

    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    device: torch.device
    is_view: bool

    def made(self, mode: FakeTensorMode, operand: FakeTensor) -> FakeTensor:
        """Another one like it."""
        if self.is_view:
            bare = torch.empty(0, dtype=self.dtype, device="meta")
            bare.set_(operand.untyped_storage(), self.offset, self.size, self.stride)
        else:
            bare = torch.empty_strided(self.size, self.stride, dtype=self.dtype, device="meta")
        return FakeTensor(mode, bare, self.device)


@dataclass(frozen=True)
class _Result:
    """What a call returned: one tensor or None, or several in a tuple or a list."""

    parts: tuple[_Tensor | None, ...]
    container: type | None


_known: dict[_Key, _Result | None] = {}
"""The results of calls; ``None`` for those that must run each time."""


def remembered(
    func: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    run: Callable[[], Any],
    *context: object,
) -> Any:
    """What an operator returns on fake tensors: as a call that looked the same did, or by running.

    Args:
        func: the operator.
        args: its arguments by place.
        kwargs: its arguments by name.
        run: runs it.
        context: what else the result depends on.
    """
    if not _may_be_known(func) or torch.is_inference_mode_enabled():
        return run()
    operands: list[FakeTensor] = []
    looks = _looks((args, tuple(kwargs.items())), operands)
    if looks is None or not operands:
        return run()
    key = (func, torch.is_grad_enabled(), torch.get_default_dtype(), context, looks)
    if key in _known:
        result = _known[key]
        return run() if result is None else _again(result, operands[0])
    made = run()
    if len(_known) >= MOST:
        _known.clear()
    _known[key] = _result(func, made, operands)
    return made


@functools.cache
def _may_be_known(func: Any) -> bool:
    """Whether an operator only makes tensors, whose shapes follow from those of its operands."""
    return (
        func.namespace == "aten"
        and not func._schema.is_mutable
        and not any(tag in func.tags for tag in _NOT_TWICE)
    )


def _looks(tree: Any, operands: list[FakeTensor]) -> _Key | None:
    """How arguments look; ``None`` if that does not say all. Tensors go to ``operands``."""
    found: list[Any] = []
    for value in tree:
        kind = type(value)
        if kind in _PLAIN:
            found.append((kind, value))
        elif kind is FakeTensor:
            look = _look(value)
            if look is None:
                return None
            operands.append(value)
            found.append(look)
        elif kind is list or kind is tuple:
            looks = _looks(value, operands)
            if looks is None:
                return None
            found.append(looks)
        else:
            return None
    return tuple(found)


def _look(tensor: FakeTensor) -> _Key | None:
    if tensor.layout != torch.strided or tensor.constant is not None:
        return None
    if tensor.is_conj() or tensor.is_neg() or tensor.is_quantized:
        return None
    return (
        tensor.dtype,
        tensor.size(),
        tensor.stride(),
        tensor.storage_offset(),
        tensor.fake_device,
    )


def _result(func: Any, made: Any, operands: Sequence[FakeTensor]) -> _Result | None:
    """What is to be remembered of a result; ``None`` if it cannot be made from that."""
    container = type(made) if type(made) in (tuple, list) else None
    parts = [made] if container is None else made
    if not all(one is None or type(one) is FakeTensor for one in parts):
        return None
    seen = {operand.untyped_storage()._cdata for operand in operands}
    is_view = func.is_view and len(operands) == 1 and container is None
    found: list[_Tensor | None] = []
    for one in parts:
        if one is None:
            found.append(None)
            continue
        look = _look(one)
        if look is None or one.requires_grad or one.fake_mode is not operands[0].fake_mode:
            return None
        tensor = _Tensor(*look, is_view=is_view)
        if not is_view:
            home = one.untyped_storage()
            if home._cdata in seen or home.nbytes() != _bytes_of(tensor):
                return None
            seen.add(home._cdata)
        found.append(tensor)
    return _Result(tuple(found), container)


def _bytes_of(tensor: _Tensor) -> int:
    """The bytes of the storage of a new tensor that looks so; -1 if none does."""
    if tensor.offset:
        return -1
    with no_dispatch():
        alike = torch.empty_strided(tensor.size, tensor.stride, dtype=tensor.dtype, device="meta")
    return alike.untyped_storage().nbytes()


def _again(result: _Result, operand: FakeTensor) -> Any:
    with no_dispatch():
        made = [part and part.made(operand.fake_mode, operand) for part in result.parts]
    return made[0] if result.container is None else result.container(made)
