"""Threads of BLAS against the cores that this process may use."""

import math
from collections.abc import Iterator
from typing import Final

from memprop.doctor.finding import GOOD, NOTICE, Finding
from memprop.machine.blas import Blas

SECTION: Final = "threads"
_VARIABLES: Final = {
    "openblas": "OPENBLAS_NUM_THREADS",
    "mkl": "MKL_NUM_THREADS",
    "blis": "BLIS_NUM_THREADS",
}
_ANY: Final = "OMP_NUM_THREADS"


def findings(
    blas: Blas, cores: int, machine_cores: int | None, quota: float | None
) -> Iterator[Finding]:
    """Findings about threads.

    Args:
        blas: the library, as it is loaded in this process.
        cores: on which this process may run.
        machine_cores: that the machine has; ``None`` if unknown.
        quota: how many cores' time a container grants; ``None`` for no quota.
    """
    granted = "no quota on their time" if quota is None else f"a quota of {quota:g} cores' time"
    of = "" if machine_cores is None else f" of {machine_cores}"
    yield Finding(SECTION, GOOD, f"This process may use {cores}{of} cores, with {granted}.")
    yield _of_blas(blas, cores if quota is None else min(cores, max(math.floor(quota), 1)))


def _of_blas(blas: Blas, cores: int) -> Finding:
    variable = _VARIABLES.get(blas.name, _ANY)
    if blas.threads is None:
        says = f"{blas.name} does not say how many threads a product uses."
        return Finding(SECTION, NOTICE, says, "Watch a long product with top.")
    says = f"A product uses {blas.threads} threads, on {cores} cores."
    if blas.threads > cores:
        return Finding(SECTION, NOTICE, f"{says} They wait for each other.", _set(variable, cores))
    if blas.threads < cores:
        return Finding(SECTION, NOTICE, f"{says} The others idle.", _set(variable, cores))
    return Finding(SECTION, GOOD, says)


def _set(variable: str, threads: int) -> str:
    return f"export {variable}={threads}"
