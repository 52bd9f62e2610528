"""The growth of a process's high-water mark over a step, with nothing but the standard library.

The protocol is that of ``memprop.probes.kernel``, written again so that PyTorch and JAX are
measured in processes that never load memprop. The process must have been started with the
settings of the C library's allocator that ``memory.py`` gives to all.
"""

import ctypes
import gc
import resource
from collections.abc import Callable
from pathlib import Path


def growth_bytes(step: Callable[[], object]) -> int | None:
    """VmHWM less VmRSS while ``step`` runs once more; ``None`` where the mark cannot be reset."""
    step()
    step()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    base = _status_bytes("VmRSS")
    step()
    return _status_bytes("VmHWM") - base


def page_faults(step: Callable[[], object]) -> int:
    """Pages that ``step`` touched for the first time when it ran again (``ru_minflt``)."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))
