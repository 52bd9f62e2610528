"""What psutil sees: resident memory of the process, read every millisecond by a thread."""

from collections.abc import Callable

import psutil

from memprop.probes.sampled import growth


def measure(step: Callable[[], object]) -> int | None:
    """Growth of the largest reading while ``step`` is repeated, in bytes."""
    process = psutil.Process()
    return growth(lambda: process.memory_info().rss, 0.001, step)
