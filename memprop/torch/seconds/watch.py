"""All operators of a step, forward, backward and update, as calls to be given a time."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from memprop.torch.record.flops import flops_of, is_product
from memprop.torch.record.ledger import Ledger
from memprop.torch.record.ours import fake_mode
from memprop.torch.record.parts import any_wraps
from memprop.torch.record.schema import operands, tensors, written
from memprop.torch.record.scratch import Pretence
from memprop.torch.seconds.calls import AskedCall, CallKind

_aten: Final = torch.ops.aten
_ALLOCATES: Final = frozenset(
    {
        _aten.empty,
        _aten.empty_like,
        _aten.empty_strided,
        _aten.new_empty,
        _aten.new_empty_strided,
    }
)
"""Operators that move no bytes."""
_ONLY_WRITES: Final = frozenset(
    {_aten.copy_, _aten.zero_, _aten.fill_, _aten.normal_, _aten.uniform_, _aten.bernoulli_}
)
"""Operators that do not read what they write over."""
_LOOKS_UP: Final = frozenset({_aten.embedding, _aten.index, _aten.index_select, _aten.gather})
"""Operators that read no more of their first operand than they make."""


class Calls(TorchDispatchMode):
    """Notes the calls of a step on fake tensors.

    Args:
        ledger: of the step, which writes an operator down after this mode has seen it.
        pretence: the device that the step pretends to run on.

    Attributes:
        asked: the calls, in order.
    """

    def __init__(self, ledger: Ledger, pretence: Pretence | None) -> None:
        super().__init__()
        self.asked: list[AskedCall] = []
        self._ledger, self._pretence = ledger, pretence
        self._fakes = fake_mode()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if any_wraps(types):
            return NotImplemented  # it comes again with what they wrap
        begin = len(self._ledger)
        result = func(*args, **kwargs)
        if fake_mode() is not self._fakes or takes_no_time(func, args, kwargs, result):
            return result
        self.asked.append(
            AskedCall(
                kind=CallKind.of(func, args, self._placed(kwargs, result), self._where),
                begin=begin,
                flops=flops_of(func, args, kwargs, result),
                moved_bytes=moved_bytes(func, args, kwargs, result),
                is_product=is_product(func),
            )
        )
        return result

    def _where(self, tensor: torch.Tensor) -> str:
        if self._pretence is None:
            return str(tensor.device)
        on_host = self._pretence.host_of(tensor) is not None
        return "cpu" if on_host else self._pretence.device

    def _placed(self, kwargs: dict[str, Any], result: Any) -> dict[str, Any]:
        """Arguments by name, with the device where the result is said to be."""
        if not isinstance(kwargs.get("device"), torch.device):
            return kwargs
        if not isinstance(result, torch.Tensor):
            return kwargs
        return {**kwargs, "device": torch.device(self._where(result))}


def takes_no_time(func: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> bool:
    """Whether a call makes a view, asks a question, or only takes memory."""
    if func.namespace == "prim" or func._overloadpacket in _ALLOCATES:
        return True
    if func._schema.is_mutable:
        return False
    homes = {one.untyped_storage()._cdata for one in _strided(operands(args, kwargs))}
    made = {one.untyped_storage()._cdata for one in _strided(tensors(result))}
    return func.is_view or made <= homes


def _strided(found: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor for tensor in found if tensor.layout == torch.strided]


def moved_bytes(func: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> int:
    """Bytes that a call reads and writes, each operand and each result once.

    What an operator writes over is read as well, but by those that only write.
    """
    changed = written(func, args, kwargs)
    made = sum(map(_bytes, changed if result is None else tensors(result)))
    read = operands(args, kwargs)
    if func._overloadpacket in _ONLY_WRITES:
        read = [one for one in read if not any(one is other for other in changed)]
    sizes = [_bytes(one) for one in read]
    if func._overloadpacket in _LOOKS_UP and sizes:
        sizes[0] = min(sizes[0], made)
    return sum(sizes) + made


def _bytes(tensor: torch.Tensor) -> int:
    """Of a tensor, where a number that stands for several counts once."""
    size = tensor.numel() * tensor.element_size()
    if tensor.layout != torch.strided:
        return size
    return min(size, tensor.untyped_storage().nbytes())
