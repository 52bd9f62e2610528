"""What psutil sees: resident memory of the process, read every millisecond by a thread."""

import threading
import time
from collections.abc import Callable
from typing import Final

import psutil

from memprop.probes.heap import hand_back

_INTERVAL_SECONDS: Final = 0.001
_LEAST_SECONDS: Final = 0.1
"""The step is repeated for so long, for a short peak is easily missed."""


def measure(step: Callable[[], object]) -> int | None:
    """Growth of the largest reading while ``step`` is repeated, in bytes."""
    step()
    hand_back()
    process = psutil.Process()
    base = peak = process.memory_info().rss
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(_INTERVAL_SECONDS):
            peak = max(peak, process.memory_info().rss)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        repeat(step, _LEAST_SECONDS)
    finally:
        done.set()
        sampler.join()
    return peak - base


def repeat(step: Callable[[], object], seconds: float) -> None:
    """Run ``step`` again and again for at least ``seconds``."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        step()
