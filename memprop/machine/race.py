"""Measuring core types against each other, each in a fresh process with one thread.

The processes take turns, round by round, so that other work on the machine slows
all of them alike. One thread, for threads of one process that wait would disturb the next process.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from memprop.machine.check import Check, Rates
from memprop.machine.products import DTYPES, FLOPS, FORMS

CORE_TYPE: Final = "OPENBLAS_CORETYPE"
"""The variable that tells OpenBLAS, before it is loaded, which kernels to use."""

_PROGRAM: Final = Path(__file__).with_name("products.py")
_THREADS: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_SECONDS: Final = 1.2
"""So long they race, if that is neither fewer nor more than the following rounds."""
_LEAST_ROUNDS: Final = 3
_MOST_ROUNDS: Final = 25
_PATIENCE_SECONDS: Final = 30.0
"""After so long whatever still runs is killed."""


def measure(core_types: Sequence[str] = ()) -> Check:
    """The rates of the library's own choice and of each of ``core_types``.

    One that crashes, or gives other products than the library's own choice, has a failure instead.

    Raises:
        OSError: no process can be started here.
    """
    with _runners(("", *core_types)) as runners:
        own, *others = runners
        for runner in runners:
            runner.begin()
        for runner in others:
            runner.check_against(own)
        _race(_distinct(runners))
        return Check(own.rates(), tuple(runner.rates() for runner in others))


def _race(runners: Sequence["_Runner"]) -> None:
    end = time.perf_counter() + _SECONDS
    for number in range(_MOST_ROUNDS):
        if number >= _LEAST_ROUNDS and time.perf_counter() > end:
            return
        for runner in runners:
            runner.run_round()


def _distinct(runners: Sequence["_Runner"]) -> list["_Runner"]:
    """Without processes for which the library chose the same kernels as for an earlier one."""
    taken: dict[str, _Runner] = {}
    for runner in runners:
        if not runner.failure and runner.core_type in taken:
            runner.failure = f"this library takes {runner.core_type} for it"
        if not runner.failure:
            taken[runner.core_type] = runner
    return list(taken.values())


@contextmanager
def _runners(core_types: Sequence[str]) -> Iterator[list["_Runner"]]:
    """A process for each core type, all started at once; none outlives the block."""
    runners: list[_Runner] = []

    def kill() -> None:
        for runner in runners:
            runner.process.kill()

    watchdog = threading.Timer(_PATIENCE_SECONDS, kill)
    watchdog.daemon = True
    try:
        runners.extend(map(_Runner, core_types))
        watchdog.start()
        yield runners
    finally:
        watchdog.cancel()
        kill()
        for runner in runners:
            runner.process.communicate()


class _Runner:
    """A process in which the library has been asked for one core type, or for none ("").

    Attributes:
        process: the process.
        core_type: what the library took.
        failure: why there are no rates, as half a sentence.
    """

    def __init__(self, asked: str) -> None:
        self.asked, self.core_type, self.failure = asked, "", ""
        self._digest = ""
        self._rounds: list[dict[str, list[float]]] = []
        environment = {**os.environ, **dict.fromkeys(_THREADS, "1"), CORE_TYPE: asked}
        if not asked:
            del environment[CORE_TYPE]
        self.process = subprocess.Popen(  # noqa: S603 - the command is ours
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def begin(self) -> None:
        """Read which core type the library chose."""
        ready = self._heard()
        if ready is not None:
            self.core_type, self._digest = ready["core_type"], ready["digest"]

    def check_against(self, own: "_Runner") -> None:
        """Fail if the products differ from those of the library's own choice."""
        if not self.failure and not own.failure and self._digest != own._digest:
            self.failure = "its products differ from those of the library's own choice"

    def run_round(self) -> None:
        """Measure each product once."""
        if self.failure:
            return
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except OSError:
            self.failure = self._end()
            return
        seconds = self._heard()
        if seconds is not None:
            self._rounds.append(seconds)

    def rates(self) -> Rates:
        """What was measured."""
        gflops = {} if self.failure else {dtype: self._gflops(dtype) for dtype in DTYPES}
        return Rates(self.asked, self.core_type, gflops, self.failure)

    def _gflops(self, dtype: str) -> float:
        """By the median time of each product."""
        medians = map(
            statistics.median, zip(*(times[dtype] for times in self._rounds), strict=True)
        )
        return round(FORMS * FLOPS / sum(medians) / 1e9, 1)

    def _heard(self) -> dict[str, Any] | None:
        """The next line of the process; ``None`` if it ended, or wrote no JSON."""
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        line = self.process.stdout.readline()
        if line.startswith("{"):
            return json.loads(line)
        # What the user's Python prints when it starts (sitecustomize) comes before any answer.
        self.failure = f"its process said {line.strip()!r}" if line else self._end()
        return None

    def _end(self) -> str:
        code = self.process.wait()
        if code == -signal.SIGKILL:
            return "its process was killed: it did not answer in time, or memory ran out"
        if code < 0:
            return f"its process crashed: {signal.Signals(-code).name}"
        return f"its process ended with status {code}"
