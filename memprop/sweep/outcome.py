"""What came of a trial, by what its process wrote and by how it ended."""

import signal
from typing import Final

from memprop.errors import DataError
from memprop.sweep.forks import Ended
from memprop.sweep.measurement import Failure, Measurement

_OUT_OF_MEMORY: Final = ("MemoryError", "Memory allocation still failed")
"""How the last words of Python, NumPy and OpenBLAS end when there is no memory left."""

_SHORTAGE: Final = "the machine may have run out of memory: set memory_limit or run smaller trials"


def measurement_of(ended: Ended) -> Measurement:
    """The last measurement that the process wrote, and how the process ended.

    A process writes a line each time that it knows more. Lines that are no measurements are left
    out: a library may have printed something.
    """
    lines = reversed(ended.output.splitlines())
    found = next((known for line in lines if (known := _read(line)) is not None), None)
    if found is None:
        last = _last_line(ended.output)
        message = f"the trial wrote no measurement but {last[:200]!r}"
        found = Measurement(status="error", message=message)
    return found.failed(*_failure(ended)) if ended.code else found


def _read(line: str) -> Measurement | None:
    try:
        return Measurement.from_json(line)
    except DataError:
        return None


def _failure(ended: Ended) -> tuple[Failure, str]:
    """Status and message of a process that did not end well."""
    if ended.code < 0:
        return "killed", _signal_message(-ended.code)
    last_words = _last_line(ended.errors) or f"exit status {ended.code} and no message"
    out_of_memory = any(words in last_words for words in _OUT_OF_MEMORY)
    return "oom" if out_of_memory else "error", last_words


def _signal_message(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        name = f"signal {number}"
    return f"killed by {name}: {_SHORTAGE}" if name == "SIGKILL" else f"killed by {name}"


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
