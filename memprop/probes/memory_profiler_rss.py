"""What memory_profiler sees: resident memory of the process, read by a second process."""

import warnings
from collections.abc import Callable
from typing import Any, Final

from memprop.probes.heap import hand_back
from memprop.probes.sampled import repeat
from memprop.probes.witness import Witness

_INTERVAL_SECONDS: Final = 0.001
_LEAST_SECONDS: Final = 0.2
"""Longer than psutil's, for the second process has to start."""
_BYTES_PER_MIB: Final = 2**20


def measure(step: Callable[[], object]) -> int | None:
    """Growth of memory_profiler's peak while ``step`` is repeated, in bytes."""
    step()
    hand_back()
    base = _peak_mib(repeat, lambda: None, 0.0)
    return round((_peak_mib(repeat, step, _LEAST_SECONDS) - base) * _BYTES_PER_MIB)


def _memory_usage() -> Any:  # it has no type annotations of its own
    with warnings.catch_warnings():
        # It names things that newer releases of what it uses call otherwise.
        warnings.simplefilter("ignore", DeprecationWarning)
        from memory_profiler import memory_usage
    return memory_usage


def _peak_mib(function: Callable[..., object], *arguments: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it forks
        peak = _memory_usage()((function, arguments), interval=_INTERVAL_SECONDS, max_usage=True)
    return float(peak)


MEMORY_PROFILER: Final = Witness(name="memory_profiler", measure=measure, load=_memory_usage)
