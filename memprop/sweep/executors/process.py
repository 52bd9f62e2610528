"""The executor that needs nothing: each trial in a fresh Python process of this machine.

A process of its own gives each trial a heap without a past, limits that kill nothing else, and the
settings of the allocator that only the start of a process can choose.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from memprop.probes.kernel import ENVIRONMENT
from memprop.sweep.executors import STATUSES, Row
from memprop.sweep.plan import Trial
from memprop.units import format_seconds

MODULE: Final = "memprop.sweep.trial"
"""What the process runs: reads a trial as JSON from stdin, writes its row as JSON to stdout."""

_OUT_OF_MEMORY: Final = ("MemoryError", "Memory allocation still failed")
"""How Python, NumPy and OpenBLAS end their last words when there is no memory left."""

_SHORTAGE: Final = "the machine may have run out of memory: set memory_limit or run smaller trials"

_running: set[subprocess.Popen[str]] = set()


def run_in_process(trial: Trial) -> Row:
    """The row of ``trial``, run by :data:`MODULE` in a fresh process.

    The process may take ``trial.timeout_seconds``; then it is killed with all that it started.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    result = _result(trial)
    return {
        **trial.axes(),
        **result,
        "seed": trial.seed,
        "host": platform.node(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": time.perf_counter() - clock,
    }


def kill_running() -> None:
    """Kill every process that :func:`run_in_process` waits for now, in whatever thread."""
    for process in list(_running):
        _kill(process)


def _result(trial: Trial) -> Row:
    try:
        process, output, errors = _run(trial)
    except subprocess.TimeoutExpired:
        return _failed("timeout", f"ran longer than {format_seconds(trial.timeout_seconds)}")
    except OSError as error:
        return _failed("error", f"the process did not start: {error}")
    if process.returncode < 0:
        return _failed("killed", _told_signal(-process.returncode))
    if process.returncode > 0:
        return _told_exit(process.returncode, errors)
    return _read_row(output)


def _run(trial: Trial) -> tuple[subprocess.Popen[str], str, str]:
    with _start() as process:
        _running.add(process)
        try:
            output, errors = process.communicate(trial.to_json(), trial.timeout_seconds)
        except BaseException:  # an interrupt too must leave no process behind
            _kill(process)
            process.wait()
            raise
        finally:
            _running.discard(process)
    return process, output, errors


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - the command is ours, the trial goes through stdin
        [sys.executable, "-m", MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **ENVIRONMENT},
        start_new_session=True,  # a group of its own can be killed as a whole
    )


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it ended in this very moment
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _failed(status: str, message: str) -> Row:
    return {"status": status, "message": message}


def _told_signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        name = f"signal {number}"
    return f"killed by {name}: {_SHORTAGE}" if name == "SIGKILL" else f"killed by {name}"


def _told_exit(code: int, errors: str) -> Row:
    last_words = _last_line(errors) or f"exit status {code} and no message"
    out_of_memory = any(words in last_words for words in _OUT_OF_MEMORY)
    return _failed("oom" if out_of_memory else "error", last_words)


def _read_row(output: str) -> Row:
    """The last line alone is the row: a library may have printed something before."""
    line = _last_line(output)
    try:
        row = json.loads(line)
        if row["status"] not in STATUSES:
            raise ValueError(row["status"])
    except (ValueError, TypeError, KeyError):
        return _failed("error", f"the trial wrote no row of results but {line[:200]!r}")
    return {"message": "", **row}


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
