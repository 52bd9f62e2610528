"""Checks of values that users hand in, with one wording for each mistake."""

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from memprop.errors import InvalidTypeError, InvalidValueError, unknown_name


def check_positive_integer(name: str, value: object) -> int:
    """``value`` as an integer of at least 1.

    Raises:
        InvalidTypeError: not an integer.
        InvalidValueError: less than 1, or True.
    """
    number = _integer(f"{name} must be a positive integer", value)
    if number < 1 or isinstance(value, bool):
        raise InvalidValueError(f"{name} must be a positive integer, got {value!r}")
    return number


def check_integer_from_zero(name: str, value: object) -> int:
    """``value`` as an integer of at least 0.

    Raises:
        InvalidTypeError: not an integer.
        InvalidValueError: negative.
    """
    number = _integer(f"{name} must be an integer of at least 0", value)
    if number < 0:
        raise InvalidValueError(f"{name} must be an integer of at least 0, got {value!r}")
    return number


def _integer(expected: str, value: object) -> int:
    try:
        return operator.index(value)  # pyright: ignore[reportArgumentType] - that is the question
    except TypeError:
        raise InvalidTypeError(f"{expected}, got {value!r}") from None


# What an option may be. A check is called with the name and the value of an option; it returns the
# value as it is kept, or raises InvalidTypeError or InvalidValueError. The command line and sweeps
# read ``kind``, the type in which the value is written there, and ``expected``, what to say of it.


@dataclass(frozen=True)
class Check(ABC):
    """A check of one option."""

    kind: ClassVar[type]
    """The type of the value where it is written as text: str, bool, int or float."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """What the value must be, in words."""

    @abstractmethod
    def __call__(self, name: str, value: Any) -> Any:
        """``value`` as it is kept."""


@dataclass(frozen=True)
class Choice(Check):
    """One of several names, as they are when the check is made.

    Attributes:
        names: a tuple, or a registry, which may grow.
        none: the name that stands for ``None``, as which it is kept.
    """

    names: Collection[str]
    none: str | None = None
    kind = str

    @property
    def expected(self) -> str:
        """The names."""
        return f"one of {', '.join(self.names)}"

    def __call__(self, name: str, value: Any) -> Any:
        """The name, or ``None`` where it stands for it."""
        given = self.none if value is None and self.none is not None else value
        if not isinstance(given, str):
            raise InvalidTypeError(f"{name} must be {self.expected}, got {value!r}")
        if given not in self.names:
            raise unknown_name(name, given, self.names)
        return None if self.none is not None and given == self.none else given


@dataclass(frozen=True)
class Flag(Check):
    """True or False."""

    kind = bool

    @property
    def expected(self) -> str:
        """What the value must be."""
        return "true or false"

    def __call__(self, name: str, value: Any) -> bool:
        """``value`` as a bool."""
        if not isinstance(value, bool | np.bool_):
            raise InvalidTypeError(f"{name} must be True or False, got {value!r}")
        return bool(value)


@dataclass(frozen=True)
class FromZero(Check):
    """A finite number of at least 0."""

    kind = float

    @property
    def expected(self) -> str:
        """What the value must be."""
        return "a finite number of at least 0"

    def __call__(self, name: str, value: Any) -> float:
        """``value`` as a float."""
        number = _number(name, value)
        if not (math.isfinite(number) and number >= 0):
            raise InvalidValueError(f"{name} must be finite and not negative, got {value!r}")
        return number


@dataclass(frozen=True)
class Positive(Check):
    """A finite number above 0."""

    kind = float

    @property
    def expected(self) -> str:
        """What the value must be."""
        return "a finite number above 0"

    def __call__(self, name: str, value: Any) -> float:
        """``value`` as a float."""
        number = _number(name, value)
        if not (math.isfinite(number) and number > 0):
            raise InvalidValueError(f"{name} must be positive, got {value!r}")
        return number


@dataclass(frozen=True)
class Probability(Check):
    """A number of at least 0 and below 1."""

    kind = float

    @property
    def expected(self) -> str:
        """What the value must be."""
        return "a number of at least 0 and below 1"

    def __call__(self, name: str, value: Any) -> float:
        """``value`` as a float."""
        number = _number(name, value)
        if not 0 <= number < 1:
            raise InvalidValueError(f"{name} must be at least 0 and below 1, got {value!r}")
        return number


@dataclass(frozen=True)
class Count(Check):
    """A positive integer, or one of at least ``least``; not more than ``most``, if there is one."""

    least: int = 1
    most: int | None = None
    kind = int

    @property
    def expected(self) -> str:
        """Which integers are allowed."""
        words = "a positive integer" if self.least == 1 else f"an integer of at least {self.least}"
        return words if self.most is None else f"{words} up to {self.most}"

    def __call__(self, name: str, value: Any) -> int:
        """``value`` as an int."""
        check = check_positive_integer if self.least == 1 else check_integer_from_zero
        number = check(name, value)
        if self.most is not None and number > self.most:
            raise InvalidValueError(f"{name} must be {self.expected}, got {number}")
        return number


def option(default: Any = MISSING, *, check: Check, help: str = "", **more: Any) -> Any:  # noqa: A002
    """A field of a dataclass that is checked, and from which its other forms follow.

    Args:
        default: the value if none is given; required if there is none.
        check: what the value may be.
        help: what the option means, in a sentence, for the command line.
        more: further metadata of the field.
    """
    metadata = {"check": check, "help": help, **more}
    return (
        field(metadata=metadata)
        if default is MISSING
        else field(default=default, metadata=metadata)
    )


def check_fields(owner: Any, prefix: str = "") -> None:
    """Check every option of ``owner``, a dataclass, and keep what the checks return."""
    for one in fields(owner):
        check = one.metadata.get("check")
        if check is not None:
            object.__setattr__(owner, one.name, check(prefix + one.name, getattr(owner, one.name)))


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise InvalidTypeError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise InvalidValueError(f"{name} must be finite, got a number too large") from None
