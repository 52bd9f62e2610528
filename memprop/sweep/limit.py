"""A limit on what a trial may allocate, enforced by the operating system.

It counts what the trial takes beyond what Python, NumPy and BLAS have taken before it, so it can be
held against a prediction. Linux counts the private writable pages of a process (VmData) and
refuses more than RLIMIT_DATA; elsewhere there is no such count, and no limit is set.
"""

import resource
from typing import Final

import numpy as np

from memprop.probes.kernel import status_bytes

_BLAS_WIDTH: Final = 128
"""Enough that a product of matrices of that width makes BLAS start all of its threads."""


class MemoryLimit:
    """The limit of one trial, whose own allocations begin when this is made.

    Args:
        limit_bytes: what the trial may take; ``None`` for no limit.
    """

    def __init__(self, limit_bytes: int | None) -> None:
        self._limit_bytes = limit_bytes
        self._begin = _data_bytes()
        _set(self._begin, limit_bytes)

    def taken(self) -> int:
        """Bytes that were allocated since the trial began."""
        begin, now = self._begin, _data_bytes()
        return 0 if begin is None or now is None else now - begin

    def renew(self, taken: int) -> None:
        """Set the limit again in a child of the trial's process, after BLAS has made its buffers.

        Args:
            taken: what the trial had taken before the fork.
        """
        if self._limit_bytes is None:
            return
        _set(None, None)
        ones = np.ones((_BLAS_WIDTH, _BLAS_WIDTH), dtype=np.float32)
        np.matmul(ones, ones)
        del ones
        now = _data_bytes()
        _set(None if now is None else now - taken, self._limit_bytes)


def _set(begin: int | None, limit_bytes: int | None) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = hard if begin is None or limit_bytes is None else begin + limit_bytes
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int | None:
    """VmData; ``None`` where the system does not say."""
    try:
        return status_bytes("VmData")
    except (OSError, LookupError):
        return None
