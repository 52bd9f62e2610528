"""Schedules by name, as users and specs write them: "lean", "every:4", "sqrt+microbatch:2".

A name is a kind with its argument, and may add in how many slices the batch is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from memprop.errors import InvalidTypeError, InvalidValueError, ScheduleError, unknown_name
from memprop.graph.graph import Graph, Operator
from memprop.graph.optimizers import Optimizer
from memprop.schedules.every import every, sqrt
from memprop.schedules.recompute import as_built, in_that_order
from memprop.schedules.revolve import revolve
from memprop.schedules.schedule import Schedule
from memprop.schedules.selective import selective
from memprop.schedules.store import inference, textbook

if TYPE_CHECKING:
    from memprop.schedules.budget import BudgetFraction

_MICROBATCH: Final = "microbatch"


class _Kind(NamedTuple):
    """How a kind of strategy is written, and the order it makes of a training step."""

    written: str
    order: Callable[..., Sequence[Operator]] | None = None
    argument: str = ""
    """What the number after the colon counts; empty where there is none."""


def _within_budget(graph: Graph, given: "int | BudgetFraction", batch: int) -> Sequence[Operator]:
    from memprop.schedules.budget import within_budget  # loaded only by those who plan

    return within_budget(graph, given, batch)


_KINDS: Final[Mapping[str, _Kind]] = MappingProxyType(
    {
        "textbook": _Kind("textbook"),
        "lean": _Kind("lean", as_built),
        "every": _Kind("every:k", every, "layers in a segment"),
        "sqrt": _Kind("sqrt", sqrt),
        "selective": _Kind("selective", selective),
        "revolve": _Kind("revolve:c", revolve, "stored states"),
        "budget": _Kind("budget:BYTES", _within_budget, "bytes"),
        "inference": _Kind("inference"),
    }
)

WRITTEN: Final = (*(kind.written for kind in _KINDS.values()), f"{_MICROBATCH}:m")
"""How every strategy is written, for messages and help."""

STRATEGIES: Final = ("textbook", "lean", "selective", "sqrt", "inference")
"""The strategies that need no number."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """What a name means.

    Attributes:
        name: as the user wrote it, without spaces.
        kind: what comes before the colon.
        argument: the number behind it; a budget may be a share.
        slices: into how many slices the batch is taken.
    """

    name: str
    kind: str
    argument: "int | BudgetFraction | None" = None
    slices: int = 1

    def in_slices(self, slices: int) -> "Strategy":
        """The same strategy with another number of slices."""
        whole = self.kind if self.argument is None else f"{self.kind}:{self.argument}"
        name = whole if slices == 1 else f"{whole}+{_MICROBATCH}:{slices}"
        return replace(self, name=name, slices=slices)

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
        """Whether the order is another for another batch size."""
        return self.kind == "budget"


@lru_cache(maxsize=32)
def _planned(
    strategy: Strategy,
    forward: Graph,
    optimizer: Optimizer | None,
    update: str,
    batch: int | None,
) -> Schedule:
    _check_update(strategy, optimizer, update)
    if strategy.kind == "inference":
        return inference(forward, optimizer)
    if strategy.kind == "textbook":
        return textbook(forward, optimizer)
    if strategy.depends_on_batch and strategy.slices > 1:
        from memprop.schedules.sliced_budget import within_budget_in_slices

        assert strategy.argument is not None and batch is not None  # noqa: S101, PT018
        return within_budget_in_slices(
            strategy.name, strategy.argument, forward, optimizer, batch, strategy.slices
        )
    kind = _KINDS[strategy.kind]
    assert kind.order is not None  # noqa: S101 - the two without an order are done
    order = (
        kind.order if strategy.argument is None else partial(_with, kind, strategy.argument, batch)
    )
    return in_that_order(strategy.name, order, forward, optimizer, update, strategy.slices)


def _with(
    kind: _Kind, argument: "int | BudgetFraction", batch: int | None, graph: Graph
) -> Sequence[Operator]:
    assert kind.order is not None  # noqa: S101 - only those with an order take an argument
    return kind.order(graph, argument) if batch is None else kind.order(graph, argument, batch)


def _check_update(strategy: Strategy, optimizer: Optimizer | None, update: str) -> None:
    if update != "in_backward":
        return
    if optimizer is None:
        raise ScheduleError(
            "update='in_backward' needs an optimizer: without one nothing is updated"
        )
    if strategy.kind == "textbook":
        raise ScheduleError(
            "update='in_backward' lets go of gradients, which 'textbook' keeps to the end: "
            "choose another schedule"
        )
    if strategy.slices > 1:
        raise ScheduleError(
            "update='in_backward' cannot be combined with microbatch: a gradient is complete only "
            "after the last slice, and the slices before it need the parameters as they were"
        )


def strategy_named(name: str) -> Strategy:
    """The strategy that ``name`` means.

    Raises:
        UnknownNameError: there is none; the message lists the known.
        InvalidValueError: its number is impossible, or the parts make no sense together.
        InvalidTypeError: ``name`` is no string.
    """
    if not isinstance(name, str):
        raise InvalidTypeError(f"schedule must be a name, such as 'lean', got {name!r}")
    parts = [_parsed(name, part.strip()) for part in name.split("+")]
    slices = [number for kind, number in parts if kind == _MICROBATCH and isinstance(number, int)]
    kinds = [part for part in parts if part[0] != _MICROBATCH]
    if len(slices) > 1 or len(kinds) > 1:
        raise InvalidValueError(
            f"schedule {name!r} names two ways to do one thing: choose one of them"
        )
    kind, argument = kinds[0] if kinds else ("lean", None)
    if slices and kind in ("textbook", "inference"):
        why = {
            "textbook": "keeps everything to the end of the step",
            "inference": "has no gradients",
        }
        raise InvalidValueError(
            f"schedule {name!r} makes no sense: {kind!r} {why[kind]}, so slices would save nothing"
        )
    return Strategy(name.replace(" ", ""), kind, argument, (slices or [1])[0] or 1)


def _parsed(name: str, part: str) -> "tuple[str, int | BudgetFraction | None]":
    """The kind and the number of one part of ``name``."""
    kind, colon, number = (piece.strip() for piece in part.partition(":"))
    if kind not in _KINDS and kind != _MICROBATCH:
        raise unknown_name("schedule", part, WRITTEN)
    counts = "slices of the batch" if kind == _MICROBATCH else _KINDS[kind].argument
    if not counts:
        if colon:
            raise InvalidValueError(f"schedule {kind!r} takes no number, got {name!r}")
        return kind, None
    if kind == "budget":
        return kind, _budget(number)
    if not _is_count(number, 2**31 - 1):
        raise InvalidValueError(
            f"schedule {kind}:... needs the number of {counts}, a positive integer as in "
            f"'{kind}:4', got {part!r}"
        )
    return kind, int(number)


def _budget(text: str) -> "int | BudgetFraction":
    """A budget in bytes, or in percent of the peak of "lean"."""
    from memprop.schedules.budget import BudgetFraction
    from memprop.schedules.optimal import check_budget

    if not text.endswith("%"):
        return check_budget(text)
    percent = text[:-1].strip()
    if not _is_count(percent, 100):
        raise InvalidValueError(
            f"a budget in percent is a whole number from 1 to 100, as in 'budget:50%', got {text!r}"
        )
    return BudgetFraction(int(percent))


def _is_count(text: str, most: int) -> bool:
    """Whether ``text`` is a whole number from 1 to ``most``, which has ten digits at most."""
    digits = text.isascii() and text.isdigit() and len(text.lstrip("0")) <= 10
    return digits and 0 < int(text.lstrip("0") or "0") <= most
