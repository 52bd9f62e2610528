"""The executor that needs nothing: trials on this machine, each in processes of its own.

A process of its own gives each trial a heap without a past, limits that kill nothing else, and the
settings of the allocator that only the start of a process can choose. It is forked from a server
that has everything loaded, so it starts within milliseconds.

Memory may be measured of several trials at the same time; times are measured of one alone, while
nothing else runs.
"""

import json
import os
import platform
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Self

from memprop.checks import check_positive_integer
from memprop.machine.choice import chosen
from memprop.machine.cpu import usable_cores
from memprop.probes.kernel import ENVIRONMENT
from memprop.sweep.executors.read_write_lock import ReadWriteLock
from memprop.sweep.executors.server import Answer, Server, ServerGone
from memprop.sweep.forks import Ended
from memprop.sweep.measurement import Measurement
from memprop.sweep.outcome import measurement_of
from memprop.sweep.plan import LEDGER, TIMES, Trial
from memprop.units import format_seconds

MODULE: Final = "memprop.sweep.trial"
"""What runs in the processes."""

_THREADS: Final = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
"""How many threads a matrix product uses, by whichever library it is done."""


class ProcessExecutor:
    """Runs trials, up to ``jobs`` at the same time.

    Args:
        jobs: threads that call it; each has a server of its own.
    """

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = check_positive_integer("jobs", jobs)
        self._machine = ReadWriteLock()
        self._lock = threading.Lock()
        self._idle: dict[str, list[Server]] = {}
        self._servers: set[Server] = set()

    def __call__(self, trial: Trial) -> Measurement:
        """What comes of ``trial``, which may take ``trial.timeout_seconds``, waiting left out."""
        started, clock = datetime.now(UTC), time.perf_counter()
        measured = self._measured(trial)
        return replace(
            measured,
            host=platform.node(),
            started=started.isoformat(timespec="seconds"),
            seconds=time.perf_counter() - clock,
        )

    def stop(self) -> None:
        """Kill all that runs, in whatever thread."""
        with self._lock:
            servers, self._servers, self._idle = self._servers, set(), {}
        for server in servers:
            server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _measured(self, trial: Trial) -> Measurement:
        if self.jobs == 1:
            return self._parts(trial, (LEDGER, *trial.witnesses, TIMES), trial.timeout_seconds)
        begin = time.monotonic()
        with self._machine.shared():
            memory = self._parts(trial, (LEDGER, *trial.witnesses), trial.timeout_seconds)
        if memory.status != "ok":
            return memory
        left = trial.timeout_seconds - (time.monotonic() - begin)
        with self._machine.alone():
            return memory.updated(self._parts(trial, (TIMES,), max(left, 0.0)))

    def _parts(self, trial: Trial, parts: Sequence[str], seconds: float) -> Measurement:
        request = json.dumps({"trial": trial.to_json(), "parts": parts})
        try:
            answer = self._run(request, seconds, parts[-1])
        except OSError as error:
            return Measurement(status="error", message=f"the process did not start: {error}")
        except ServerGone as gone:
            message = f"the process that starts trials ended: {gone}".rstrip(": ")
            return Measurement(status="killed", message=message)
        found = measurement_of(answer.ended)
        if answer.in_time:
            return found
        limit = format_seconds(trial.timeout_seconds)
        return found.failed("timeout", f"ran longer than {limit}")

    def _run(self, request: str, seconds: float, last_part: str) -> Answer:
        """Have a server run ``request``; what measures times has servers of its own."""
        kind = TIMES if last_part == TIMES else LEDGER
        server = self._taken(kind)
        try:
            answer = server.run(request, seconds)
        except BaseException as error:
            with self._lock:
                self._servers.discard(server)
            last_words = server.close()
            if isinstance(error, TimeoutError):  # it was killed, but did not end
                return Answer(Ended(-signal.SIGKILL, "", ""), in_time=False)
            if isinstance(error, ServerGone):
                raise ServerGone(last_words.rpartition("\n")[2]) from None
            raise
        with self._lock:
            if server in self._servers:
                self._idle.setdefault(kind, []).append(server)
        return answer

    def _taken(self, kind: str) -> Server:
        """A server that nobody else uses now."""
        with self._lock:
            if self._idle.get(kind):
                return self._idle[kind].pop()
        server = Server(MODULE, self._environment(quiet=kind == TIMES))
        with self._lock:
            self._servers.add(server)
        return server

    def _environment(self, *, quiet: bool) -> Mapping[str, str]:
        """That of a server; where it is quiet, BLAS may have all cores."""
        fixed = {**ENVIRONMENT, **chosen().variables, "PYTHONHASHSEED": "0"}
        if quiet:
            return fixed
        each = str(max(usable_cores() // self.jobs, 1))
        return {**fixed, **{name: each for name in _THREADS if name not in os.environ}}
