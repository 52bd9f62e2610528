"""Real operands for a call that is known by its kind."""

from typing import Any

import torch

from memprop.errors import InvalidValueError
from memprop.torch.seconds.calls import CallKind, Opaque, TensorKind

_POOL: int = 2**20
"""So many random numbers are drawn, and copied over and over: to draw more takes longer than most
calls do."""


def arguments_of(kind: CallKind) -> tuple[list[Any], dict[str, Any]]:
    """Arguments for a call of a kind.

    Numbers with a fraction are between 0 and 1, integers 0, which is an index into anything that is
    not empty, and truth values true.

    Raises:
        InvalidValueError: an argument cannot be made.
    """
    return [_made(one) for one in kind.args], {name: _made(one) for name, one in kind.kwargs}


def _made(value: Any) -> Any:
    if isinstance(value, TensorKind):
        return _tensor(value)
    if isinstance(value, Opaque):
        raise InvalidValueError(f"{value.kind} cannot be made anew: it has no time of its own")
    if isinstance(value, tuple):
        return [_made(one) for one in value]
    return value


def _tensor(kind: TensorKind) -> torch.Tensor:
    whole = _numbers(kind.length, kind.dtype, torch.device(kind.device))
    return whole.as_strided(kind.size, kind.stride)


def _numbers(count: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    if dtype == torch.bool:
        return torch.ones(count, dtype=dtype, device=device)
    if not (dtype.is_floating_point or dtype.is_complex):
        return torch.zeros(count, dtype=dtype, device=device)
    whole = torch.empty(count, dtype=dtype, device=device)
    drawn = torch.rand(min(count, _POOL), device=device).to(dtype)
    for begin in range(0, count, _POOL):
        part = whole[begin : begin + _POOL]
        part.copy_(drawn[: len(part)])
    return whole
