"""The machine's memory: the limit of a container, free memory, swap."""

from collections.abc import Iterator
from typing import Final

import psutil

from memprop.doctor.finding import GOOD, NOTICE, Finding
from memprop.machine.cgroup import Allowance, memory_allowance
from memprop.units import format_bytes

SECTION: Final = "memory"
_TIGHT: Final = 0.1
"""Less than this part of what there could be is little."""

_MAKE_ROOM: Final = "End what else runs, or give a memory_limit and --skip-oom to sweeps."


def findings() -> Iterator[Finding]:
    """Findings about memory."""
    yield _container(memory_allowance())
    memory = psutil.virtual_memory()
    yield _free(memory.available, memory.total)
    yield _swap(psutil.swap_memory().used)


def _container(allowance: Allowance | None) -> Finding:
    if allowance is None:
        return Finding(SECTION, GOOD, "No limit of a container (cgroup) is known.")
    limit, used = format_bytes(allowance.limit_bytes), format_bytes(allowance.used_bytes)
    says = f"The container (cgroup) is limited to {limit}, of which {used} are used."
    if allowance.room_bytes < _TIGHT * allowance.limit_bytes:
        return Finding(SECTION, NOTICE, says, "Raise the limit of the container.")
    return Finding(SECTION, GOOD, says)


def _free(available: int, total: int) -> Finding:
    says = f"{format_bytes(available)} of {format_bytes(total)} are free on this machine."
    if available < _TIGHT * total:
        return Finding(SECTION, NOTICE, says, _MAKE_ROOM)
    return Finding(SECTION, GOOD, says)


def _swap(used: int) -> Finding:
    if used == 0:
        return Finding(SECTION, GOOD, "No swap is in use.")
    says = f"{format_bytes(used)} are swapped out: witnesses of resident memory do not see those."
    return Finding(SECTION, NOTICE, says, _MAKE_ROOM)
