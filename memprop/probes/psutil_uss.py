"""What psutil sees of a process alone: resident pages that no other process shares (USS).

The kernel has to walk all pages of the process for a reading, which takes milliseconds, so there
are fewer of them.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Final

from memprop.probes.sampled import growth
from memprop.probes.witness import Witness


def measure(step: Callable[[], object]) -> int | None:
    """Growth of the largest reading while ``step`` is repeated; ``None`` where it is refused."""
    import psutil

    process = psutil.Process()
    try:
        return growth(lambda: process.memory_full_info().uss, 0.002, step)
    except (psutil.AccessDenied, AttributeError):
        return None


PSUTIL_USS: Final = Witness(
    name="psutil_uss", measure=measure, load=lambda: import_module("psutil")
)
