"""Independent witnesses of the peak memory of a step.

Each measures, in its own way, by how many bytes the peak while a step runs exceeds what was held
just before it. None shares anything with the ledger, nor with another.

=================  ======================================  ========================================
witness            sees                                    does not see
=================  ======================================  ========================================
tracemalloc        every buffer that NumPy and Python ask  memory of C libraries (BLAS), and what
                   for, to the byte                        the allocator adds
kernel             every page that the process touched,    less than a page; pages that were there
                   by the kernel's high-water mark         before and are used again
psutil             resident memory, read every             a peak between two readings
                   millisecond
psutil_uss         pages that no other process shares      the same; readings take longer, so it
                                                           has fewer
memory_profiler    the same, read by another process       the same, and it starts slowly
=================  ======================================  ========================================
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Final

from memprop.errors import unknown_name

Step = Callable[[], object]
Witness = Callable[[Step], int | None]
"""Runs a step, several times if need be, and returns the growth of its peak in bytes; ``None``
where this machine cannot measure it: never a guess."""

MODULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tracemalloc": "memprop.probes.traced",
        "kernel": "memprop.probes.kernel",
        "psutil": "memprop.probes.psutil_rss",
        "psutil_uss": "memprop.probes.psutil_uss",
        "memory_profiler": "memprop.probes.memory_profiler_rss",
    }
)


def witness(name: str) -> Witness:
    """The witness of that name; its module is imported when first asked for.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in MODULES:
        raise unknown_name("witness", name, MODULES)
    return import_module(MODULES[name]).measure
