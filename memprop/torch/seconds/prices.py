"""The seconds of the calls of a step, by measuring each kind once or by rates."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from memprop.cuda.rates import Rates
from memprop.torch.seconds import cache, measure
from memprop.torch.seconds.calls import AskedCall, CallKind
from memprop.torch.seconds.roofline import by_roofline, rates_here

ALL_SECONDS: Final = 5.0
"""Measuring ends after so long; the rest is told by the roofline."""


@dataclass(frozen=True)
class Prices:
    """What the calls of a step take.

    Attributes:
        seconds: of each call.
        estimated: the operators of which a call was not measured.
    """

    seconds: Sequence[float]
    estimated: tuple[str, ...]


RatesOf = Callable[[AskedCall], Rates]
"""The rates of the device on which a call runs."""


def estimated(asked: Sequence[AskedCall], rates: RatesOf) -> Prices:
    """The seconds of calls, by rates alone."""
    seconds = [by_roofline(call, rates(call)) for call in asked]
    return Prices(seconds, _names(asked))


def measured(asked: Sequence[AskedCall], rates: RatesOf) -> Prices:
    """The seconds of calls, each kind measured once, on this machine.

    What cannot be measured, or not within :data:`ALL_SECONDS`, takes what the roofline says, times
    how much longer than that the calls take that were measured.

    Args:
        asked: the calls.
        rates: of devices, for the roofline.
    """
    by_rates = estimated(asked, rates).seconds
    total: defaultdict[CallKind, float] = defaultdict(float)
    for call, seconds in zip(asked, by_rates, strict=True):
        total[call.kind] += seconds
    moved = {call.kind: call.moved_bytes for call in asked}
    dearest_first = sorted(total, key=lambda kind: -total[kind])
    found = Clock().of([(kind, moved[kind]) for kind in dearest_first])
    pairs = list(zip(asked, by_rates, strict=True))
    scale = _ratio([(found[call.kind], rate) for call, rate in pairs if call.kind in found])
    seconds = [found.get(call.kind, scale * rate) for call, rate in pairs]
    return Prices(seconds, _names([call for call in asked if call.kind not in found]))


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """How much longer calls took than the roofline says."""
    by_rates = sum(second for _, second in pairs)
    return sum(first for first, _ in pairs) / by_rates if by_rates else 1.0


def _names(asked: Sequence[AskedCall]) -> tuple[str, ...]:
    return tuple(sorted({call.kind.operator.name() for call in asked}))


class Clock:
    """Measures calls and remembers what they took.

    Args:
        most: seconds after which no further call is measured.
    """

    def __init__(self, most: float = ALL_SECONDS) -> None:
        self._left = most
        self._keys: dict[str, str] = {}

    def of(self, kinds: Sequence[tuple[CallKind, int]]) -> dict[CallKind, float]:
        """The seconds of kinds of calls, without those that cannot be measured.

        Args:
            kinds: each with the bytes that a call moves.
        """
        found: dict[CallKind, float] = {}
        fresh: dict[str, dict[str, float]] = {}
        for kind, moved_bytes in kinds:
            if not measure.can_run(kind, moved_bytes):
                continue
            device = self._key_of(kind)
            seconds = cache.remembered(device).get(kind.key)
            if seconds is None and self._left > 0 and not cache.is_refused(device, kind.key):
                seconds = self._timed(kind)
                if seconds is None:
                    cache.refuse(device, kind.key)
                else:
                    fresh.setdefault(device, {})[kind.key] = seconds
            if seconds is not None:
                found[kind] = seconds
        for device, new in fresh.items():
            cache.remember(device, new)
        return found

    def _timed(self, kind: CallKind) -> float | None:
        with measure.unseen():
            begin = measure.now()
            seconds = measure.timed(kind)
            self._left -= measure.now() - begin
        return seconds

    def _key_of(self, kind: CallKind) -> str:
        """What the time of a call holds for."""
        if kind.device not in self._keys:
            self._keys[kind.device] = cache.device_key(torch.device(kind.device))
        return self._keys[kind.device]


def rates_by_measuring(device: str | None = None) -> RatesOf:
    """Rates of devices at hand, for each type measured once.

    Args:
        device: in place of where the calls say that they run.
    """
    known: dict[tuple[str, torch.dtype], Rates] = {}
    clock = Clock()

    def seconds(kind: CallKind) -> float | None:
        return clock.of([(kind, 0)]).get(kind)

    def rates(call: AskedCall) -> Rates:
        dtype = call.dtype if call.is_product else torch.float32
        key = (device or call.kind.device, dtype)
        if key not in known:
            known[key] = rates_here(*key, seconds)
        return known[key]

    return rates
