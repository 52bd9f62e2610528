"""Schedules by name, as users and specs write them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from memprop.errors import InvalidTypeError, unknown_name
from memprop.graph.graph import Graph
from memprop.graph.optimizers import Optimizer
from memprop.schedules.actions import Schedule
from memprop.schedules.store import inference, lean, textbook

Strategy = Callable[[Graph, Optimizer | None], Schedule]

STRATEGIES: Final[Mapping[str, Strategy]] = MappingProxyType(
    {"textbook": textbook, "lean": lean, "inference": inference}
)


def strategy_named(name: str) -> Strategy:
    """The strategy that ``name`` means.

    Raises:
        UnknownNameError: there is none; the message lists the known.
        InvalidTypeError: ``name`` is no string.
    """
    if not isinstance(name, str):
        raise InvalidTypeError(f"schedule must be a name, such as 'lean', got {name!r}")
    if name not in STRATEGIES:
        raise unknown_name("schedule", name, STRATEGIES)
    return STRATEGIES[name]
