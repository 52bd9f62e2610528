"""What the kernel sees: the high-water mark of resident memory, which Linux can reset.

The mark counts pages. It tells the peak of one step only if the step gets its memory as fresh
pages and gives it back to the kernel, and if nothing else is touched meanwhile: so the process
must run with :data:`ENVIRONMENT`, the step must have run before (BLAS has then made its buffers),
and free memory inside the process is handed back first.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from memprop.probes.heap import hand_back
from memprop.probes.witness import Bound, Witness

ENVIRONMENT: Final[dict[str, str]] = {
    # Blocks of 64 KiB and more get pages of their own, which go back when they are freed.
    "MALLOC_MMAP_THRESHOLD_": "65536",
    # What is free at the end of the heap goes back from 128 KiB on.
    "MALLOC_TRIM_THRESHOLD_": "131072",
    # Without huge pages a buffer takes what it uses, not the next multiple of 2 MiB.
    "NUMPY_MADVISE_HUGEPAGE": "0",
}
"""What must be in the environment of a process when it starts."""

_CLEAR_REFS: Final = Path("/proc/self/clear_refs")
_STATUS: Final = Path("/proc/self/status")
_RESET_PEAK: Final = "5"


def available() -> str | None:
    """Why the kernel cannot be asked here; ``None`` if it can."""
    if not sys.platform.startswith("linux"):
        return f"only Linux has a high-water mark that can be reset, this is {sys.platform}"
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
        status_bytes("VmHWM")
    except (OSError, LookupError) as error:
        return f"this system does not let a process reset its high-water mark: {error}"
    return None


def measure(step: Callable[[], object]) -> int | None:
    """Growth of VmHWM over VmRSS while ``step`` runs, in bytes; ``None`` where there is no mark."""
    if available() is not None:
        return None
    step()
    step()
    hand_back()
    _CLEAR_REFS.write_text(_RESET_PEAK)
    base = status_bytes("VmRSS")
    step()
    return status_bytes("VmHWM") - base


def status_bytes(field: str) -> int:
    """A figure of /proc/self/status, such as VmRSS, in bytes.

    Raises:
        OSError, LookupError: this system does not say.
    """
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(f"{_STATUS} has no {field}")


KERNEL: Final = Witness(
    name="kernel",
    measure=measure,
    bound=Bound("max(512 KiB, 0.5 %)", lambda growth: np.maximum(512 * 1024, 0.005 * growth)),
    why_not=available,
)
