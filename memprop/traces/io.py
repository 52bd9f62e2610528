"""Traces as files: JSON, compressed with gzip; never pickle."""

import gzip
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from memprop.documents import STRICT, first_mistake, from_json
from memprop.errors import TraceFormatError
from memprop.files import write_whole
from memprop.terms import PHASES
from memprop.traces.about import About, upgraded
from memprop.traces.events import Events, TracedOperator, TracedVariable
from memprop.traces.requests import NO_STORAGE, Requests, check_requests

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

_REQUESTS = ("block", "bytes", "event", "storage")
FORMAT = "memprop trace"
SCHEMA = 3
"""Raised when what stands in a file changes; files of all versions before are read too."""


def save(trace: "Trace", path: str | os.PathLike[str]) -> None:
    """Write ``trace`` to ``path``; arrays that the step put out are not part of it.

    Raises:
        OutputError: the file cannot be written.
    """
    write_whole(path, to_bytes(trace))


def to_bytes(trace: "Trace") -> bytes:
    """``trace`` as the bytes of a file; the same trace is the same file, byte for byte."""
    document = {
        "format": FORMAT,
        "schema": SCHEMA,
        "about": dict(trace.about),
        "phases": list(trace.phases),
        "operators": [asdict(operator) for operator in trace.operators],
        **_memory(trace),
    }
    if trace.elsewhere:
        document["elsewhere"] = {name: _memory(one) for name, one in trace.elsewhere.items()}
    if trace.requests is not None:
        asked = trace.requests
        columns = {name: getattr(asked, name).tolist() for name in _REQUESTS}
        document["requests"] = {**columns, "kept": dict(asked.kept)}
    return gzip.compress(json.dumps(document, allow_nan=False).encode(), mtime=0)


def _memory(trace: "Trace") -> dict[str, Any]:
    """What lives on one device."""
    return {
        "variables": [asdict(variable) for variable in trace.variables],
        "events": {f.name: getattr(trace.events, f.name).tolist() for f in fields(Events)},
    }


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The parts of the trace in ``path``, for :meth:`memprop.Trace.of_parts`.

    Raises:
        TraceFormatError: the file is missing, damaged, or no trace.
    """
    name = os.fspath(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise TraceFormatError(f"cannot read a trace from {name!r}: {error.strerror}") from None
    return parts_of(data, name)


def parts_of(data: bytes, name: str) -> dict[str, Any]:
    """The parts of the trace in the bytes of a file; ``name`` says in messages which.

    Raises:
        TraceFormatError: they are damaged, or no trace.
    """
    document = _document(data, name)
    try:
        return {
            "about": About.of(upgraded(document.about) if document.schema == 1 else document.about),
            "phases": document.phases,
            "variables": _checked(document.variables),
            "operators": document.operators,
            "events": _events(document.events),
            "requests": _requests(document.requests, len(document.events.kind)),
            "elsewhere": {
                name: {"variables": _checked(part.variables), "events": _events(part.events)}
                for name, part in document.elsewhere.items()
            },
        }
    except (TypeError, ValueError, OverflowError) as error:
        raise TraceFormatError(f"{name!r} is a damaged trace: {error}") from None


@dataclass(frozen=True)
class _Columns:
    """The columns of :class:`memprop.traces.events.Events`."""

    __pydantic_config__ = STRICT

    kind: list[int]
    phase: list[int]
    operator: list[int]
    variable: list[int]
    storage: list[int]
    bytes: list[int]
    nanoseconds: list[int]


@dataclass(frozen=True)
class _RequestColumns:
    """The columns of :class:`memprop.traces.requests.Requests`."""

    __pydantic_config__ = STRICT

    block: list[int]
    bytes: list[int]
    event: list[int]
    storage: list[int] | None = None  # files of the first versions with requests have none
    kept: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Memory:
    """What lives on another device."""

    __pydantic_config__ = STRICT

    variables: tuple[TracedVariable, ...]
    events: _Columns


@dataclass(frozen=True)
class _Document:
    """What stands in a file."""

    __pydantic_config__ = STRICT | {"extra": "ignore"}

    format: Literal["memprop trace"]
    schema: Literal[1, 2, 3]
    about: dict[str, str | int | float | bool]  # the first schema had flags
    variables: tuple[TracedVariable, ...]
    operators: tuple[TracedOperator, ...]
    events: _Columns
    phases: tuple[str, ...] = PHASES  # files of the first memprop have none
    requests: _RequestColumns | None = None  # steps on a GPU alone have them
    elsewhere: dict[str, _Memory] = field(default_factory=dict)


def _document(data: bytes, name: str) -> _Document:
    try:
        text = gzip.decompress(data)
    except gzip.BadGzipFile:
        raise TraceFormatError(
            f"cannot read a trace from {name!r}: it is not compressed with gzip"
        ) from None
    except (EOFError, zlib.error):
        raise TraceFormatError(f"{name!r} is damaged: it ends early") from None
    try:
        return from_json(_Document, text)
    except ValueError as error:  # a ValidationError is one
        raise TraceFormatError(_complaint(error, name)) from None


def _complaint(error: Any, name: str) -> str:
    first = error.errors(include_url=False)[0]
    match first["loc"]:
        case ("format",) | () if first["type"] != "json_invalid":
            return f"{name!r} is not a trace that memprop wrote"
        case ("schema",):
            return (
                f"{name!r} has the trace schema {first['input']!r}, but this memprop reads 1 to "
                f"{SCHEMA}: update memprop, or write the trace again"
            )
    return f"{name!r} is a damaged trace: {first_mistake(error)}"


def _checked(variables: tuple[TracedVariable, ...]) -> tuple[TracedVariable, ...]:
    for variable in variables:
        if not 0 <= variable.bytes < 2**63:
            raise ValueError(f"{variable.bytes} is no size of the variable {variable.name!r}")
    return variables


def _events(columns: _Columns) -> Events:
    return Events(**_arrays("events", vars(columns)))


def _requests(columns: _RequestColumns | None, events: int) -> Requests | None:
    if columns is None:
        return None
    named = {name: getattr(columns, name) for name in _REQUESTS}
    named["storage"] = columns.storage or [NO_STORAGE] * len(columns.block)
    requests = Requests(**_arrays("requests", named), kept=columns.kept)
    check_requests(requests, events)
    return requests


def _arrays(what: str, columns: Mapping[str, list[int]]) -> dict[str, np.ndarray]:
    arrays = {name: np.array(numbers, dtype=np.int64) for name, numbers in columns.items()}
    if len({len(array) for array in arrays.values()}) != 1:
        raise ValueError(f"the columns of {what} differ in length")
    return arrays
