"""A sweep specification: the TOML file that a user writes, checked, and the trials it stands for.

A list in ``[grid]`` is an axis, a scalar is fixed, and the product is run; of several grids,
written ``[[grid]]``, each::

    load_spec("depth_batch.toml")  ->  SweepSpec
"""

import os
import tomllib
from collections.abc import Callable
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
)
from pydantic_core import PydanticCustomError

from memprop.checks import Check, Choice
from memprop.errors import (
    DataError,
    InvalidTypeError,
    InvalidValueError,
    SpecError,
    UnknownNameError,
)
from memprop.probes import WITNESSES
from memprop.sweep import axes
from memprop.sweep.axes import LARGEST_COUNT, SIMULATE
from memprop.sweep.imports import import_files
from memprop.sweep.mistakes import first_mistake
from memprop.units import parse_bytes, parse_seconds

_LARGEST_INTEGER: Final = 2**63 - 1  # what a column of results holds
_LONGEST_AXIS: Final = 10**6
_LONGEST_SECONDS: Final = 500 * 3600  # waiting for a process takes at most 2^31 milliseconds

_AS_STORED: Final = "as stored"
"""Names are not checked: the sweep has been run."""

T = TypeVar("T")


# What a value may be


def _as_axis(value: object) -> tuple[object, ...]:
    if isinstance(value, dict):
        return _range(value)
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _range(table: dict[str, object]) -> tuple[int, ...]:
    """``{ from = 1, to = 4096, step = 1 }`` as the integers it stands for, both ends included."""
    first, last, step = (table.get(name, 1) for name in ("from", "to", "step"))
    given = all(type(number) is int for number in (first, last, step))
    if not given or not table.keys() <= {"from", "to", "step"} or "to" not in table:
        raise ValueError(f"expected {{ from = 1, to = 4096, step = 1 }}, got {table}")
    assert isinstance(first, int) and isinstance(last, int) and isinstance(step, int)  # noqa: S101, PT018
    if step < 1 or last < first or (last - first) // step >= _LONGEST_AXIS:
        raise ValueError(
            f"expected 1 to {_LONGEST_AXIS} integers with a positive step, got {table}"
        )
    return tuple(range(first, last + 1, step))


def _without_repeats(values: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(values)) < len(values):
        value = next(value for value in values if values.count(value) > 1)
        raise ValueError(f"{value!r} is listed more than once: list every value once")
    return values


def _not_empty(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise ValueError("the list is empty: give at least one value")
    return values


def _checked(name: str, check: Check) -> Callable[..., Any]:
    """``check`` for an axis, as pydantic wants it; it keeps names that stand for ``None``."""

    def value_of(value: Any, info: ValidationInfo) -> Any:
        try:
            kept = check(name, value)
        except UnknownNameError:
            if info.context == _AS_STORED:
                return value
            raise  # its message says more than what was expected
        except (InvalidValueError, InvalidTypeError) as error:
            if isinstance(check, Choice) or check.kind is str:
                raise ValueError(str(error)) from None
            raise PydanticCustomError("not_allowed", "not allowed") from None
        return value if kept is None else kept

    return value_of


def _in_listed_order(witnesses: tuple[str, ...]) -> tuple[str, ...]:
    """The order in which witnesses are written changes no result, so it must change no key."""
    return tuple(name for name in WITNESSES if name in witnesses)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected a duration such as '60 s', got {value!r}")
    seconds = parse_seconds(value)
    if seconds > _LONGEST_SECONDS:
        raise ValueError(f"expected at most {_LONGEST_SECONDS // 3600} h, got {value!r}")
    return seconds


def _limit_bytes(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"expected a size such as '4 GiB', got {value!r}")
    limit_bytes = parse_bytes(value)
    if not 0 < limit_bytes <= _LARGEST_INTEGER:
        raise ValueError(f"expected more than 0 B and less than 2^63 B, got {value!r}")
    return limit_bytes


Values = Annotated[tuple[T, ...], BeforeValidator(_as_axis), AfterValidator(_without_repeats)]
Axis = Annotated[Values[T], AfterValidator(_not_empty)]
Count = Annotated[int, Field(gt=0, le=LARGEST_COUNT)]
Witness = Annotated[str, AfterValidator(_checked("witness", Choice(WITNESSES)))]
Seconds = Annotated[float, BeforeValidator(_seconds)]
LimitBytes = Annotated[int, BeforeValidator(_limit_bytes)]

# The description of a field is what a message says was expected.
_COUNT: Final = f"a positive integer up to {LARGEST_COUNT}"


# The tables of the file


class _Table(BaseModel):
    """A table of the file: frozen, no unknown keys, no conversions ("4" and 4.0 are no 4)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Grid(_Table):
    """The axes. Each is a tuple of values; a scalar of the file is an axis with one value.

    ``depth`` is the number of hidden layers, ``width`` the units of each, ``batch`` the samples
    of a step. ``schedule`` says nothing to mode "inference", which has a schedule of its own.
    """

    @field_validator("schedule", check_fields=False)
    @classmethod
    def _inference_cannot_train(
        cls, schedules: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        if "inference" in schedules and "train" in info.data.get("mode", ()):
            raise ValueError(
                "'inference' cannot train: leave it out, mode 'inference' takes it by itself"
            )
        return schedules


def _field(axis: axes.Axis) -> tuple[Any, Any]:
    """An axis as a field of pydantic: its type, and its default and description."""
    value = Annotated[axis.check.kind, AfterValidator(_checked(axis.name, axis.check))]
    default: Any = ... if axis.default is MISSING else (axis.default,)
    return Axis[value], Field(default=default, description=axis.check.expected)


if TYPE_CHECKING:

    class GridSpec(_Grid):
        """What is made below, for type checkers."""

        def __init__(self, **values: object) -> None: ...

        def __getattr__(self, name: str) -> tuple[Any, ...]: ...
else:
    GridSpec = create_model(
        "GridSpec",
        __base__=_Grid,
        __doc__=_Grid.__doc__,
        __module__=__name__,
        **{axis.name: _field(axis) for axis in axes.TABLE},
    )


def _as_grids(value: object) -> tuple[object, ...]:
    """One table ``[grid]`` is as good as a list of them, ``[[grid]]``."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


class MeasureSpec(_Table):
    """How each trial is measured: who watches the peak, how often, and within which limits.

    ``timeout`` is in seconds and ``memory_limit`` in bytes once they are read.
    """

    witnesses: Annotated[Values[Witness], AfterValidator(_in_listed_order)] = Field(
        default=("tracemalloc", "kernel"), description=Choice(WITNESSES).expected
    )
    steps: Count = Field(default=5, description=_COUNT)
    repeats: Count = Field(default=3, description=_COUNT)
    timeout: Seconds = Field(default=60.0, description="a duration such as '60 s'")
    memory_limit: LimitBytes | None = Field(default=None, description="a size such as '4 GiB'")


class DataSpec(_Table):
    """Where samples come from: "digits" (bundled) or a path to .npz, .csv or .parquet."""

    source: Annotated[str, Field(min_length=1)] = Field(
        default="digits", description='"digits" or a path'
    )


class SweepSpec(_Table):
    """A whole sweep. ``name`` names its folder of results, ``title`` heads its report.

    Of several grids each is run, and what two have in common once. ``imports`` are files that
    register operators, optimizers, strategies or witnesses; every process of the sweep runs them.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = Field(
        description="a name of letters, digits, '_', '-' and '.', for it names a folder"
    )
    title: Annotated[str, Field(min_length=1)] = Field(description="a text")
    grid: Annotated[
        tuple[GridSpec, ...], BeforeValidator(_as_grids), AfterValidator(_not_empty)
    ] = Field(description="a table [grid], or several [[grid]]")
    measure: MeasureSpec = Field(default=MeasureSpec(), description="a table [measure]")
    data: DataSpec = Field(default=DataSpec(), description="a table [data]")
    seed: Annotated[int, Field(ge=0, le=_LARGEST_INTEGER)] = Field(
        default=0, description="an integer of at least 0"
    )
    imports: Values[Annotated[str, Field(pattern=r"\.py$")]] = Field(
        default=(), description="a list of Python files, each 'NAME.py'"
    )

    @field_validator("grid")
    @classmethod
    def _simulated_stand_alone(cls, grids: tuple[GridSpec, ...]) -> tuple[GridSpec, ...]:
        modes = {mode for grid in grids for mode in grid.mode}
        if SIMULATE in modes and len(modes) > 1:
            raise ValueError(
                "mode 'simulate' runs nothing, so it cannot be mixed with modes that do: "
                "write a specification of its own"
            )
        return grids

    @property
    def simulated(self) -> bool:
        """Whether all is predicted and nothing run."""
        return self.grid[0].mode == (SIMULATE,)


TABLES: Final[dict[str, type[BaseModel]]] = {
    "": SweepSpec,
    "grid": GridSpec,
    "measure": MeasureSpec,
    "data": DataSpec,
}


# Reading the file


def load_spec(path: str | os.PathLike[str], *, stored: bool = False) -> SweepSpec:
    """The specification in the TOML file ``path``.

    Args:
        path: of the file.
        stored: whether it is that of results that exist. Then nothing is imported, and names that
            are not registered here are kept as they are: a report runs nobody's code.

    Raises:
        SpecError: the file cannot be read or asks for what cannot be run. One line that names
            the file, the line, the key, its value and what was expected.
    """
    text = _read(Path(path))
    try:
        document = tomllib.loads(text)
        if not stored:
            _import_files(document.get("imports"), path)
        return SweepSpec.model_validate(document, context=_AS_STORED if stored else None)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: this is not valid TOML: {error}") from None
    except ValidationError as error:
        raise SpecError(f"{path}{first_mistake(error, text, TABLES)}") from None


def _import_files(names: object, path: str | os.PathLike[str]) -> None:
    """Run the files that register names, before these are checked."""
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        return  # the validation says what is wrong with it
    try:
        import_files(listed)
    except DataError as error:
        raise SpecError(f"{path}: imports: {error}") from error


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise SpecError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise SpecError(f"{path}: this is a folder, expected a TOML file") from None
    except OSError as error:
        raise SpecError(f"{path}: the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{path}: expected UTF-8, but byte {error.start} is {error.object[error.start]:#04x}"
        ) from None
