"""JSON that memprop wrote, read back as the dataclass that it was: strictly, by pydantic.

A dataclass that is read here may say how in ``__pydantic_config__``, which needs no import of
pydantic, a package that takes longer to load than all of memprop.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from memprop.errors import DataError

if TYPE_CHECKING:
    from pydantic import ConfigDict, TypeAdapter, ValidationError

T = TypeVar("T")

STRICT: Final["ConfigDict"] = {"strict": True, "extra": "forbid", "allow_inf_nan": False}
"""No unknown keys, no conversions: neither "4" nor 4.0 is an integer."""


def from_json(kind: type[T], data: str | bytes) -> T:
    """The value of the type ``kind`` (a dataclass, or a container of some) that ``data`` describes.

    Raises:
        pydantic.ValidationError: it describes none; :func:`first_mistake` says why.
    """
    return _adapter(kind).validate_json(data)


def from_line(kind: type[T], line: str, name: str) -> T:
    """As :func:`from_json`, of a line whose dataclass messages call ``name``, such as "trial".

    Raises:
        DataError: it describes none.
    """
    from pydantic import ValidationError

    try:
        return from_json(kind, line)
    except ValidationError as error:
        mistake = first_mistake(error)
        raise DataError(f"{line[:60]!r} is no {name} in JSON: {mistake}") from None


def shortened(value: object) -> str:
    """``value`` as it is written in Python, in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def first_mistake(error: "ValidationError") -> str:
    """``variables.3.bytes: Input should be a valid integer, got 'many'``."""
    found = error.errors(include_url=False)[0]
    place = ".".join(map(str, found["loc"]))
    if not place or found["type"] == "missing":
        return f"{place}: {found['msg']}".removeprefix(": ")
    return f"{place}: {found['msg']}, got {shortened(found['input'])}"


@cache
def _adapter(kind: type) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
