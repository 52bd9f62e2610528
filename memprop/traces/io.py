"""Traces as files: JSON, compressed with gzip; never pickle."""

import gzip
import json
import os
import zlib
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memprop.errors import TraceFormatError
from memprop.files import write_whole
from memprop.terms import PHASES
from memprop.traces.about import About, upgraded
from memprop.traces.events import Events, TracedOperator, TracedVariable

if TYPE_CHECKING:
    from memprop.traces.trace import Trace

FORMAT = "memprop trace"
SCHEMA = 2
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
        "variables": [asdict(variable) for variable in trace.variables],
        "operators": [asdict(operator) for operator in trace.operators],
        "events": {f.name: getattr(trace.events, f.name).tolist() for f in fields(Events)},
    }
    return gzip.compress(json.dumps(document, allow_nan=False).encode(), mtime=0)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The parts of the trace in ``path``, by the names of Trace's fields.

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
            "about": About.of(document["about"]),
            # Files of the first memprop have neither phases nor sites.
            "phases": tuple(str(phase) for phase in document.get("phases", PHASES)),
            "variables": tuple(_variable(entry) for entry in document["variables"]),
            "operators": tuple(TracedOperator(**entry) for entry in document["operators"]),
            "events": _events(document["events"]),
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TraceFormatError(f"{name!r} is a damaged trace: {error}") from None


def _document(data: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(gzip.decompress(data))
    except gzip.BadGzipFile:
        raise TraceFormatError(
            f"cannot read a trace from {name!r}: it is not compressed with gzip"
        ) from None
    except (EOFError, zlib.error, ValueError, RecursionError):
        raise TraceFormatError(f"{name!r} is damaged: it ends early or is no JSON") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise TraceFormatError(f"{name!r} is not a trace that memprop wrote")
    if document.get("schema") == 1:
        return {**document, "about": upgraded(document["about"])}
    if document.get("schema") != SCHEMA:
        raise TraceFormatError(
            f"{name!r} has the trace schema {document.get('schema')!r}, but this memprop reads "
            f"1 to {SCHEMA}: update memprop, or write the trace again"
        )
    return document


def _variable(entry: dict[str, Any]) -> TracedVariable:
    if not isinstance(entry["bytes"], int) or not 0 <= entry["bytes"] < 2**63:
        raise ValueError(f"{entry['bytes']!r} is no size of a variable")
    return TracedVariable(**{**entry, "shape": tuple(int(dim) for dim in entry["shape"])})


def _events(columns: dict[str, list[int]]) -> Events:
    arrays = {f.name: np.array(columns[f.name], dtype=np.int64) for f in fields(Events)}
    if any(array.ndim != 1 for array in arrays.values()):
        raise ValueError("a column of events is not a list of integers")
    if len({len(array) for array in arrays.values()}) != 1:
        raise ValueError("the columns of events differ in length")
    return Events(**arrays)
