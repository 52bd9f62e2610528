"""What became of a process that ran a trial, or a part of one, as a row."""

import json
import signal
from typing import Any, Final

from memprop.sweep.forks import Ended
from memprop.traces.trace import Trace

Row = dict[str, Any]
"""Column -> value, of types that JSON has."""

FAILURES: Final = ("oom", "timeout", "killed", "error")
STATUSES: Final = ("ok", *FAILURES, "skipped", "simulated")
"""What can become of a trial: measured, out of memory, too slow, killed by a signal, anything else
that went wrong; not run because it was predicted to run out of memory; only predicted."""

_OUT_OF_MEMORY: Final = ("MemoryError", "Memory allocation still failed")
"""How Python, NumPy and OpenBLAS end their last words when there is no memory left."""

_SHORTAGE: Final = "the machine may have run out of memory: set memory_limit or run smaller trials"


def failed(status: str, message: str) -> Row:
    """The row of a trial that gave no results."""
    return {"status": status, "message": message}


def described(trace: Trace) -> Row:
    """What a trace says of a step, whether it ran or not."""
    return {
        **{f"peak_{name}": size for name, size in trace.peak_by_category().items()},
        "peak_operator": trace.peak_operator,
        "saved_bytes": trace.saved_bytes,
        "saved_count": len(trace.saved),
        "persistent_bytes": trace.persistent_bytes,
        "flops": trace.about["flops"],
        "recomputed_flops": trace.about["recomputed_flops"],
    }


def row_of(ended: Ended) -> Row:
    """All that the process wrote as lines of JSON, the later over the earlier, and how it ended.

    Lines that are no JSON objects are left out: a library may have printed something.
    """
    known = _read_rows(ended.output)
    if ended.code < 0:
        return {**known, **failed("killed", _signal_message(-ended.code))}
    if ended.code > 0:
        return {**known, **_exit_row(ended.code, ended.errors)}
    if known.get("status") not in STATUSES:
        last = _last_line(ended.output)
        return failed("error", f"the trial wrote no row of results but {last[:200]!r}")
    return {"message": "", **known}


def _read_rows(output: str) -> Row:
    row: Row = {}
    for line in output.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            row |= found
    return row


def _signal_message(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        name = f"signal {number}"
    return f"killed by {name}: {_SHORTAGE}" if name == "SIGKILL" else f"killed by {name}"


def _exit_row(code: int, errors: str) -> Row:
    last_words = _last_line(errors) or f"exit status {code} and no message"
    out_of_memory = any(words in last_words for words in _OUT_OF_MEMORY)
    return failed("oom" if out_of_memory else "error", last_words)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
