"""The axes of a grid, in one table: everything else about an axis follows from it.

The keys of ``[grid]`` and what they may hold, the coordinates of a point, the columns of results
and their types, what tells two series of a report apart. The options of a model are the fields of
:class:`memprop.MLP`; a new field is a new axis, behind those that are there.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from types import MappingProxyType
from typing import Any, Final

from memprop.checks import Check, Choice, Count
from memprop.graph.optimizers import OPTIMIZER_NAMES
from memprop.models.mlp import options
from memprop.schedules.names import strategy_named, written
from memprop.terms import MODES, UPDATES

SIMULATE: Final = "simulate"
MODES_OF_TRIALS: Final = (*MODES, SIMULATE)
"""A trial of mode "simulate" is predicted as one of mode "train" would be, and not run."""

LARGEST_COUNT: Final = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis of a grid.

    Attributes:
        name: its key in the specification, and its column in the results.
        check: what a value may be.
        default: the value where the specification leaves it out; ``MISSING`` where it must not.
            A default never changes, for the keys of stored trials leave it out.
        of_model: whether it is an option of the model.
        inference: whether the memory of inference depends on it.
    """

    name: str
    check: Check
    default: Any = MISSING
    of_model: bool = False
    inference: bool = False

    @property
    def column(self) -> str:
        """The type of its column in the results, as pandas names it."""
        return _COLUMNS[self.check.kind]


_COLUMNS: Final[Mapping[type, str]] = MappingProxyType(
    {str: "string", bool: "bool", int: "int64", float: "float64"}
)


@dataclass(frozen=True)
class _ScheduleName(Check):
    """The name of a schedule, such as "lean" or "every:4"."""

    kind = str

    @property
    def expected(self) -> str:
        """How names are written."""
        return f"one of {', '.join(written())}"

    def __call__(self, name: str, value: Any) -> str:
        """The name, without spaces."""
        del name
        return strategy_named(value).name


def _own(name: str, check: Check, default: Any = MISSING) -> Axis:
    return Axis(name=name, check=check, default=default)


def _of_model(field: Any) -> Axis:
    check: Check = field.metadata["check"]
    none = getattr(check, "none", None)
    return Axis(
        name=field.name,
        check=check,
        default=none if field.default is None else field.default,
        of_model=True,
        inference=field.metadata.get("inference", True),
    )


def _table() -> tuple[Axis, ...]:
    count = Count(most=LARGEST_COUNT)
    known = {
        **{name: _own(name, count) for name in ("depth", "batch", "width")},
        "mode": _own("mode", Choice(MODES_OF_TRIALS), "train"),
        "schedule": _own("schedule", _ScheduleName(), "lean"),
        "optimizer": _own("optimizer", Choice(OPTIMIZER_NAMES), "none"),
        "update": _own("update", Choice(UPDATES), "at_end"),
        **{field.name: _of_model(field) for field in options() if field.name != "seed"},
    }
    order = dict.fromkeys((*_FIRST, *known))
    return tuple(known[name] for name in order)


_FIRST: Final = (
    *("depth", "batch", "width", "mode", "schedule", "activation", "optimizer", "loss", "bias"),
    *("l2", "dtype", "update", "dropout", "dropout_mask", "norm", "residual"),
)
"""The order in which results had their columns from the start; what is new comes behind."""

TABLE: Final = _table()

AXES: Final = tuple(axis.name for axis in TABLE)
"""The axes in the order of the columns of results; the last one turns fastest."""
