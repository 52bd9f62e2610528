"""Schedules by name, as users and specs write them: "lean", "every:4", "sqrt+microbatch:2".

A name is that of a strategy with its number. It may add in how many micro-batches the batch is
taken.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from memprop.errors import InvalidTypeError, InvalidValueError, ScheduleError, unknown_name
from memprop.graph.graph import Graph
from memprop.graph.optimizers import Optimizer
from memprop.registry import register
from memprop.schedules.budgeted import BUDGET
from memprop.schedules.every import EVERY, SQRT
from memprop.schedules.inference import INFERENCE
from memprop.schedules.lean import LEAN
from memprop.schedules.offload import OFFLOAD
from memprop.schedules.revolve import REVOLVE
from memprop.schedules.schedule import Schedule
from memprop.schedules.selective import SELECTIVE
from memprop.schedules.strategies import STRATEGIES as STRATEGIES
from memprop.schedules.strategies import Request, is_count
from memprop.schedules.strategies import Strategy as Strategy
from memprop.schedules.textbook import TEXTBOOK

# A new strategy is a file and its name here. The order is that of tables and help.
register(TEXTBOOK, LEAN, SELECTIVE, SQRT, EVERY, REVOLVE, BUDGET, OFFLOAD, INFERENCE)

_MICROBATCH: Final = "microbatch"


def written() -> tuple[str, ...]:
    """How every strategy is written, for messages and help."""
    return (*(strategy.written for strategy in STRATEGIES.values()), f"{_MICROBATCH}:m")


def without_number() -> tuple[str, ...]:
    """The names of the strategies that need no number."""
    return tuple(name for name, strategy in STRATEGIES.items() if not strategy.number)


@dataclass(frozen=True, slots=True)
class NamedStrategy:
    """What a name means.

    Attributes:
        name: as the user wrote it, without spaces but those of a path.
        strategy: the one that stands before the colon.
        argument: the number behind it; a budget may be a share, a folder is a text.
        micro_batches: into how many micro-batches the batch is taken.
    """

    name: str
    strategy: Strategy
    argument: Any = None
    micro_batches: int = 1

    def in_micro_batches(self, micro_batches: int) -> "NamedStrategy":
        """The same strategy with another number of micro-batches."""
        kind = self.strategy.name
        whole = kind if self.argument is None else f"{kind}:{self.argument}"
        name = whole if micro_batches == 1 else f"{whole}+{_MICROBATCH}:{micro_batches}"
        return replace(self, name=name, micro_batches=micro_batches)

    def schedule(
        self,
        forward: Graph,
        optimizer: Optimizer | None = None,
        update: str = "at_end",
        batch: int | None = None,
    ) -> Schedule:
        """The schedule of a step, planned once for what it depends on.

        Args:
            forward: the forward pass of a model.
            optimizer: updates the parameters.
            update: when it does; one of :data:`memprop.terms.UPDATES`.
            batch: samples of the step; only a strategy that depends on them asks for it.

        Raises:
            ScheduleError: this cannot be done to that model; the message says why.
        """
        if self.depends_on_batch and batch is None:
            raise ScheduleError(f"schedule {self.name!r} depends on the batch size: name one")
        return _planned(self, forward, optimizer, update, batch if self.depends_on_batch else None)

    @property
    def depends_on_batch(self) -> bool:
        """Whether the order depends on the batch size."""
        return self.strategy.depends_on_batch


@lru_cache(maxsize=32)
def _planned(
    named: NamedStrategy,
    forward: Graph,
    optimizer: Optimizer | None,
    update: str,
    batch: int | None,
) -> Schedule:
    _check_update(named, optimizer, update)
    return named.strategy.schedule(
        Request(
            name=named.name,
            argument=named.argument,
            forward=forward,
            optimizer=optimizer,
            update=update,
            batch=batch,
            micro_batches=named.micro_batches,
        )
    )


def _check_update(named: NamedStrategy, optimizer: Optimizer | None, update: str) -> None:
    if update != "in_backward":
        return
    if optimizer is None:
        raise ScheduleError(
            "update='in_backward' needs an optimizer: without one nothing is updated"
        )
    if named.strategy.keeps_gradients:
        raise ScheduleError(
            "update='in_backward' lets go of gradients, which "
            f"{named.strategy.name!r} keeps to the end: choose another schedule"
        )
    if named.micro_batches > 1:
        raise ScheduleError(
            "update='in_backward' cannot be combined with microbatch: a gradient is complete only "
            "after the last micro-batch, and those before it need the parameters as they were"
        )


def strategy_named(name: str) -> NamedStrategy:
    """The strategy that ``name`` means.

    Raises:
        UnknownNameError: there is none; the message lists the known.
        InvalidValueError: its number is impossible, or the parts make no sense together.
        InvalidTypeError: ``name`` is no string.
    """
    if not isinstance(name, str):
        raise InvalidTypeError(f"schedule must be a name, such as 'lean', got {name!r}")
    parts = [_parsed(name, part) for part in _split(name)]
    micro_batches = [number for strategy, number in parts if strategy is None]
    named = [(strategy, number) for strategy, number in parts if strategy is not None]
    if len(micro_batches) > 1 or len(named) > 1:
        raise InvalidValueError(
            f"schedule {name!r} names two ways to do one thing: choose one of them"
        )
    strategy, argument = named[0] if named else (STRATEGIES["lean"], None)
    if micro_batches and strategy.whole_because:
        raise InvalidValueError(
            f"schedule {name!r} makes no sense: {strategy.name!r} {strategy.whole_because}, so "
            "micro-batches would save nothing"
        )
    if strategy.verbatim:
        return NamedStrategy(name, strategy, argument).in_micro_batches(*micro_batches or (1,))
    return NamedStrategy(name.replace(" ", ""), strategy, argument, *micro_batches)


def _split(name: str) -> list[str]:
    """The parts of a name between its ``+``, but for those that stand in a path."""
    parts: list[str] = []
    for part in name.split("+"):
        whole = parts and _is_verbatim(parts[-1]) and part.partition(":")[0].strip() != _MICROBATCH
        if whole:
            parts[-1] += f"+{part}"
        else:
            parts.append(part)
    return [part.strip() for part in parts]


def _is_verbatim(part: str) -> bool:
    strategy = STRATEGIES.get(part.partition(":")[0].strip())
    return strategy is not None and strategy.verbatim


def _parsed(name: str, part: str) -> tuple[Strategy | None, Any]:
    """The strategy and the number of one part of ``name``; no strategy for micro-batches."""
    before, colon, number = (piece.strip() for piece in part.partition(":"))
    if before == _MICROBATCH:
        return None, _count(before, number, "micro-batches of the batch", part)
    strategy = STRATEGIES.get(before)
    if strategy is None:
        raise unknown_name("schedule", part, written())
    if not strategy.number:
        if colon:
            raise InvalidValueError(f"schedule {before!r} takes no number, got {name!r}")
        return strategy, None
    if strategy.read is not None:
        return strategy, strategy.read(number)
    return strategy, _count(before, number, strategy.counts, part)


def _count(before: str, number: str, counts: str, part: str) -> int:
    if not is_count(number):
        raise InvalidValueError(
            f"schedule {before}:... needs the number of {counts}, a positive integer as in "
            f"'{before}:4', got {part!r}"
        )
    return int(number)
