"""What tracemalloc sees: NumPy reports every data buffer to it, Python every object."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Final

import numpy as np

from memprop.probes.witness import Bound, Witness

_CALIBRATION_BYTES: Final = 1 << 20
_OBJECT_BYTES: Final = 1024
"""More than the Python object around an array takes."""


def measure(step: Callable[[], object]) -> int | None:
    """Growth of the traced peak while ``step`` runs, in bytes.

    ``step`` runs once before, so that what it imports and caches does not count. ``None`` if this
    NumPy does not report its buffers once each: some releases report them twice.
    """
    step()
    started = not tracemalloc.is_tracing()
    if started:
        tracemalloc.start()
    try:
        if not _reports_once():
            return None
        step()
        gc.collect()
        base = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        step()
        return tracemalloc.get_traced_memory()[1] - base
    finally:
        if started:
            tracemalloc.stop()


def _reports_once() -> bool:
    """Whether an array of known size shows up as that size."""
    before = tracemalloc.get_traced_memory()[0]
    array = np.empty(_CALIBRATION_BYTES, dtype=np.uint8)
    reported = tracemalloc.get_traced_memory()[0] - before
    del array
    return 0 <= reported - _CALIBRATION_BYTES < _OBJECT_BYTES


def numpy_bytes() -> int:
    """Bytes that NumPy holds in data buffers now, by its own domain of tracemalloc.

    Tracing must have begun before they were allocated.
    """
    domain = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    snapshot = tracemalloc.take_snapshot().filter_traces([domain])
    return sum(trace.size for trace in snapshot.traces)


TRACEMALLOC: Final = Witness(
    name="tracemalloc",
    measure=measure,
    bound=Bound("16 KiB + 0.1 %", lambda growth: 16 * 1024 + 0.001 * growth),
    why_not=lambda: "NumPy does not report each buffer once",
)
