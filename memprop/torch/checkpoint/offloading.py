"""What of a step can wait in host memory, and what it takes to copy it there and back."""

import math
from collections.abc import Collection
from numbers import Real
from typing import Final

import torch
from torch import nn

from memprop.cuda.rates import rates_of
from memprop.errors import InvalidValueError, unknown_name
from memprop.torch.checkpoint.costs import is_at_hand
from memprop.torch.checkpoint.rehearsal import Rehearsal
from memprop.torch.fake.tensors import named_device
from memprop.units import parse_bytes

OFFLOADS: Final = ("cpu",)
"""Where things can wait."""
_SMALL: Final = 64
"""What is that many times smaller than the largest result that could wait stays on the device."""


def offloadable(step: Rehearsal, kept: Collection[int]) -> list[int]:
    """The calls of the first forward pass whose results can wait on the host, in order.

    Args:
        step: the step.
        kept: values of it that would be kept else.
    """
    values, read = step.seen.values, {v for call in step.seen.calls for v in call.operands}

    def can_wait(number: int) -> bool:
        value = values[number]
        return not value.overwritten and (bool(value.saves) or number not in read)

    found = [
        call
        for call in step.seen.calls
        if call.forward == 0
        and call.changed < 0
        and any(value in kept and values[value].saves for value in call.made)
        and all(map(can_wait, call.made))
    ]
    sizes = {call.number: step.new_bytes(call) for call in found}
    largest = max(sizes.values(), default=0)
    return [number for number, size in sizes.items() if size * _SMALL >= largest]


def copying_seconds(
    module: nn.Module,
    offload: str,
    *,
    device: torch.device | str | None,
    gpu: str,
    bandwidth: str | float | None,
) -> float:
    """The seconds that it takes to copy a byte to the host, or back.

    Args:
        module: a module.
        offload: where results would wait.
        device: where to plan for, if not where the module is.
        gpu: which GPU "cuda" is.
        bandwidth: bytes a second, or a text such as "25 GB"; measured, or from the table of GPUs,
            if not given.

    Raises:
        UnknownNameError: ``offload`` is no place that is known.
        InvalidValueError: the device's memory is the host's, or the bandwidth is impossible.
    """
    if offload not in OFFLOADS:
        raise unknown_name("offload", offload, OFFLOADS)
    where = _device_of(module) if device is None else named_device(device).type
    if where != "cuda":
        raise InvalidValueError(
            f"offload={offload!r} moves what waits from a GPU to the host, and the step to plan "
            f"for is on {where!r}: move the module to the GPU, or plan with device='cuda'"
        )
    if bandwidth is not None:
        return 1 / _checked(bandwidth)
    return 1 / (_measured() if is_at_hand(gpu) else rates_of(gpu).host)


def _device_of(module: nn.Module) -> str:
    """The type of the device of a module."""
    return next((one.device.type for one in (*module.parameters(), *module.buffers())), "cpu")


def _checked(bandwidth: str | float) -> float:
    rate = _number(bandwidth) if isinstance(bandwidth, str) else bandwidth
    is_number = isinstance(rate, Real) and not isinstance(rate, bool)
    if not (is_number and 0 < rate < math.inf):
        raise InvalidValueError(
            f"bandwidth is the bytes that are copied in a second, as 25e9 or '25 GB', got "
            f"{bandwidth!r}"
        )
    return float(rate)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return parse_bytes(text)


_TRIAL_BYTES: Final = 2**26


def _measured() -> float:
    """Bytes a second between this machine's GPU and pinned memory: the slower of both ways."""
    there = torch.empty(_TRIAL_BYTES, dtype=torch.uint8, device="cuda")
    host = torch.empty(_TRIAL_BYTES, dtype=torch.uint8, pin_memory=True)
    return _TRIAL_BYTES / max(_seconds(host, there), _seconds(there, host))


def _seconds(target: torch.Tensor, source: torch.Tensor) -> float:
    """The least of several copies, after a first one."""
    found = []
    for _ in range(4):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        target.copy_(source, non_blocking=True)
        end.record()
        end.synchronize()
        found.append(begin.elapsed_time(end) / 1000)
    return min(found[1:])
