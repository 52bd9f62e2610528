"""Everything that the doctor examines, in order."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from memprop.doctor import allocator, extras, kernels, memory, pages, threads, witnesses
from memprop.doctor.finding import STATUSES, Finding
from memprop.machine.blas import Blas, blas_of_numpy
from memprop.machine.cgroup import cpu_quota
from memprop.machine.check import Check
from memprop.machine.choice import OFF, SWITCH, known_check
from memprop.machine.core_types import nothing_to_choose
from memprop.machine.cpu import Cpu, this_cpu


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        findings: in the order of their sections.
        cpu: this machine's.
        blas: NumPy's, as it is loaded in this process.
        check: of core types; ``None`` if none was made.
    """

    findings: tuple[Finding, ...]
    cpu: Cpu
    blas: Blas
    check: Check | None

    @property
    def status(self) -> str:
        """The worst of all."""
        return max((finding.status for finding in self.findings), key=STATUSES.index)


def examine(*, fresh: bool = False) -> Examination:
    """Examine this machine. This takes some seconds, longer the first time.

    Args:
        fresh: whether BLAS kernels are measured anew, even if they were before.
    """
    cpu, blas = this_cpu(), blas_of_numpy()
    off = os.environ.get(SWITCH) == OFF and not fresh
    check = None if off else known_check(cpu, blas, fresh=fresh)
    return Examination(tuple(_findings(cpu, blas, check)), cpu, blas, check)


def _findings(cpu: Cpu, blas: Blas, check: Check | None) -> Iterator[Finding]:
    yield from kernels.findings(blas, check, nothing_to_choose(cpu, blas), os.environ)
    yield from threads.findings(blas, cpu.cores, os.cpu_count(), cpu_quota())
    yield from pages.findings(os.environ)
    yield from allocator.findings(os.environ)
    yield from witnesses.findings(witnesses.seen_by_all())
    yield from memory.findings()
    yield from extras.findings()
