"""What plans hold against memory: FLOPs, or seconds."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from memprop.cuda.rates import rates_of
from memprop.errors import unknown_name
from memprop.torch.checkpoint.observed import Seen
from memprop.torch.fake.tensors import named_device
from memprop.torch.seconds.calls import AskedCall
from memprop.torch.seconds.prices import Prices, estimated, measured, rates_by_measuring
from memprop.traces.trace import Trace

COSTS: Final = ("flops", "seconds")


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What the calls of a step cost.

    Attributes:
        unit: "flops" or "seconds".
        of_calls: of each call of the forward passes.
        of_step: of all of a step that keeps everything: forward, loss, backward and optimizer.
        estimated: the operators whose seconds are those of a roofline, and were not measured.
    """

    unit: str
    of_calls: Sequence[float]
    of_step: float
    estimated: tuple[str, ...] = ()


Pricing = Callable[[Sequence[AskedCall]], Prices]
"""Gives the seconds of calls."""


def check_cost(cost: str) -> str:
    """``cost``, if it is one.

    Raises:
        UnknownNameError: it is none.
    """
    if cost not in COSTS:
        raise unknown_name("cost", cost, COSTS)
    return cost


def in_flops(seen: Seen, trace: Trace) -> Costs:
    """The FLOPs of a step."""
    whole = sum(operator.flops or 0 for operator in trace.operators) - seen.made_up
    return Costs(unit="flops", of_calls=[call.flops for call in seen.calls], of_step=whole)


def in_seconds(seen: Seen, asked: Sequence[AskedCall], pricing: Pricing) -> Costs:
    """The seconds of a step.

    Args:
        seen: its forward passes.
        asked: all of its calls.
        pricing: gives their seconds.
    """
    prices = pricing(asked)
    at = {
        (call.kind.operator, call.begin): seconds
        for call, seconds in zip(asked, prices.seconds, strict=True)
    }
    return Costs(
        unit="seconds",
        of_calls=[at.get((call.func, call.begin), 0.0) for call in seen.calls],
        of_step=sum(prices.seconds),
        estimated=prices.estimated,
    )


def pricing_of(module: nn.Module, device: torch.device | str | None, gpu: str) -> Pricing:
    """How the seconds of a module's step are found: measured where it would run, if that is here.

    Args:
        module: the module.
        device: where to plan for, if not where the module is.
        gpu: which GPU "cuda" is.
    """
    if device is not None and named_device(device).type == "cuda":
        rates = rates_of(gpu)
        return partial(measured if is_at_hand(gpu) else estimated, rates=lambda _: rates)
    if _has_no_numbers(module.parameters()) or _has_no_numbers(module.buffers()):
        return lambda asked: estimated(asked, rates_by_measuring("cpu"))
    return lambda asked: measured(asked, rates_by_measuring())


def is_at_hand(gpu: str) -> bool:
    """Whether this machine's first GPU is the one of a name, as "h100"."""
    if not torch.cuda.is_available():
        return False
    pattern = gpu.partition("-")[0].replace("rtx", "rtx ?")
    return re.search(rf"\b{pattern}\b", torch.cuda.get_device_name(0).lower()) is not None


def _has_no_numbers(tensors: Iterable[torch.Tensor]) -> bool:
    return any(tensor.is_meta or isinstance(tensor, FakeTensor) for tensor in tensors)
