"""The result of measuring core types, and the choice that follows from it."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

from annotated_types import Gt

from memprop.documents import STRICT

MARGIN: Final = 1.05
"""A core type must be so many times as fast as the library's own choice to be taken instead."""


@dataclass(frozen=True)
class Rates:
    """How fast one core type is.

    Attributes:
        asked: the core type that was asked for; "" for the library's own choice.
        core_type: the one that the library took then; "" if it does not say.
        gflops: GFLOP/s of one core by dtype; empty if it was not measured.
        failure: why it was not, as half a sentence.
    """

    __pydantic_config__ = STRICT

    asked: str
    core_type: str = ""
    gflops: Mapping[str, Annotated[float, Gt(0)]] = field(default_factory=dict)
    failure: str = ""

    def times(self, other: "Rates") -> float:
        """How many times as fast this is as ``other``: the geometric mean over the dtypes."""
        if not self.gflops or not other.gflops:
            return 0.0
        ratios = [rate / other.gflops[dtype] for dtype, rate in self.gflops.items()]
        return statistics.geometric_mean(ratios)


@dataclass(frozen=True)
class Check:
    """The rates of all core types that were tried.

    Attributes:
        own: of the library's own choice.
        candidates: of those that were asked for.
    """

    __pydantic_config__ = STRICT

    own: Rates
    candidates: tuple[Rates, ...] = ()

    @property
    def measured(self) -> tuple[Rates, ...]:
        """Those that have a rate."""
        return tuple(rates for rates in (self.own, *self.candidates) if rates.gflops)

    @property
    def best(self) -> Rates:
        """The fastest candidate if it beats the library's own choice by the margin; else that."""
        fastest = max(self.measured, key=lambda rates: rates.times(self.own), default=self.own)
        return fastest if fastest.times(self.own) >= MARGIN else self.own

    def rates_of(self, core_type: str) -> Rates | None:
        """The rates of what runs as ``core_type``."""
        return next((rates for rates in self.measured if rates.core_type == core_type), None)
