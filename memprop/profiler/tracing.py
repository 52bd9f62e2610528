"""NumPy's buffers as tracemalloc sees them: which are alive, and where they were allocated.

NumPy reports every data buffer in a domain of its own, ``np.lib.tracemalloc_domain``. The traced
peak cannot be had by domain: it counts Python objects too.
"""

import importlib
import threading
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from memprop.errors import PhaseError
from memprop.profiler.sites import site_of

FRAMES: Final = 16
"""Frames kept of each allocation: enough to see through NumPy to the user's code, and to the
bottom of most threads' stacks. More would cost more at every allocation."""


class Block(NamedTuple):
    """Buffers of one size from one site."""

    site: str
    other_thread: bool
    bytes: int


@dataclass(frozen=True)
class Sample:
    """A sample of tracemalloc: the buffers at one moment.

    Attributes:
        blocks: how many buffers of each kind live.
        traced_bytes: what NumPy and all other Python code hold together.
        peak_bytes: the largest ``traced_bytes`` since the last sample.
    """

    blocks: Counter[Block]
    traced_bytes: int
    peak_bytes: int

    @property
    def numpy_bytes(self) -> int:
        """What NumPy holds in data buffers."""
        return total_bytes(self.blocks)


def total_bytes(blocks: Counter[Block]) -> int:
    """Bytes of all the buffers together."""
    return sum(block.bytes * count for block, count in blocks.items())


class _Tracing:
    """tracemalloc, started for the first profiler and stopped after the last.

    Where it ran before, it is left running, with the number of frames that it keeps. The garbage
    collector may end one profiler while another begins, in the same thread.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._users = 0
        self._started = False

    def begin(self) -> None:
        with self._lock:
            self._users += 1
            if not tracemalloc.is_tracing():
                _import_readers()
                tracemalloc.start(FRAMES)
                self._started = True

    def end(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._started:
                tracemalloc.stop()
                self._started = False


def _import_readers() -> None:
    """Import what reads a profile: under tracemalloc it would take 20 times as long."""
    importlib.import_module("pandas")
    importlib.import_module("memprop.traces.figures")


TRACING: Final = _Tracing()


def sample() -> Sample:
    """Take a sample, and reset the peak.

    Raises:
        PhaseError: tracemalloc was stopped by someone else.
    """
    if not tracemalloc.is_tracing():
        raise PhaseError(
            "tracemalloc was stopped while a profiler was at work: let the profiler stop it, "
            "by prof.close()"
        )
    traced, peak = tracemalloc.get_traced_memory()
    found = Sample(_blocks(), traced, peak)
    tracemalloc.reset_peak()
    return found


def _blocks() -> Counter[Block]:
    main = threading.current_thread() is threading.main_thread()
    return Counter(
        Block(_site(trace.traceback), main and _in_thread(trace.traceback), trace.size)
        for trace in map(tracemalloc.Trace, _of_numpy(tracemalloc.take_snapshot()))
    )


def _of_numpy(snapshot: tracemalloc.Snapshot) -> list[Any]:
    """The raw traces of NumPy's buffers, which begin with their domain.

    To iterate over the traces makes an object of each, and tracemalloc would trace them all: that
    takes 20 times as long as to take the snapshot.
    """
    raw = vars(snapshot.traces)["_traces"]
    return [each for each in raw if each[0] == np.lib.tracemalloc_domain]


def _site(traceback: tracemalloc.Traceback) -> str:
    return site_of((frame.filename, frame.lineno) for frame in reversed(traceback))


def _in_thread(traceback: tracemalloc.Traceback) -> bool:
    """Whether the stack begins where Python starts a thread.

    One that is deeper than what was kept of it does not show its beginning.
    """
    whole = traceback.total_nframe is None or traceback.total_nframe <= len(traceback)
    return whole and traceback[0].filename == threading.__file__
