"""What psutil sees: resident memory of the process, read every millisecond by a thread."""

from collections.abc import Callable
from importlib import import_module
from typing import Final

from memprop.probes.sampled import growth
from memprop.probes.witness import Witness


def measure(step: Callable[[], object]) -> int | None:
    """Growth of the largest reading while ``step`` is repeated, in bytes."""
    import psutil

    process = psutil.Process()
    return growth(lambda: process.memory_info().rss, 0.001, step)


PSUTIL: Final = Witness(name="psutil", measure=measure, load=lambda: import_module("psutil"))
