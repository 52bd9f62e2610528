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

from memprop.probes.kernel import KERNEL
from memprop.probes.memory_profiler_rss import MEMORY_PROFILER
from memprop.probes.psutil_rss import PSUTIL
from memprop.probes.psutil_uss import PSUTIL_USS
from memprop.probes.traced import TRACEMALLOC
from memprop.probes.witness import WITNESSES as WITNESSES
from memprop.probes.witness import Bound as Bound
from memprop.probes.witness import Witness as Witness
from memprop.registry import register

# A new witness is a file and its name here. The order is that of columns.
register(TRACEMALLOC, KERNEL, PSUTIL, PSUTIL_USS, MEMORY_PROFILER)
