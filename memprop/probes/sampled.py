"""Reading a process's memory again and again while a step is repeated."""

import threading
import time
from collections.abc import Callable
from typing import Final

from memprop.probes.heap import hand_back

_LEAST_SECONDS: Final = 0.1
"""The step is repeated for so long, for a short peak is easily missed."""


def growth(read: Callable[[], int], interval_seconds: float, step: Callable[[], object]) -> int:
    """Growth of the largest of the readings while ``step`` is repeated, in bytes.

    Args:
        read: reads the memory that is in use now.
        interval_seconds: between two readings.
        step: what is watched.
    """
    step()
    hand_back()
    base = peak = read()
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(interval_seconds):
            peak = max(peak, read())

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
