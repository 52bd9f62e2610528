"""Machines that are not this one."""

from memprop.machine.blas import Blas
from memprop.machine.check import Check, Rates
from memprop.machine.cpu import Cpu

AVX2 = frozenset({"avx", "avx2", "fma"})
AVX512 = AVX2 | {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}

OPENBLAS = Blas("openblas", "0.3.31", "Haswell", 2, "libopenblas.so")


def cpu(flags=AVX512, architecture="x86_64", cores=2):
    return Cpu("A CPU", architecture, frozenset(flags), cores)


def rates(asked, single, double=None, core_type=None):
    """Rates in GFLOP/s of float32 and float64."""
    gflops = {"float32": float(single), "float64": float(double or single / 2)}
    return Rates(asked, core_type or asked, gflops)


def check(own, *candidates):
    """A check whose own choice is Haswell at the rate ``own``."""
    return Check(rates("", own, core_type="Haswell"), candidates)
