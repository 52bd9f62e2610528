"""Core types of OpenBLAS, and which of them a CPU can run."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from memprop.machine.blas import Blas
from memprop.machine.cpu import Cpu

_AVX2: Final = frozenset({"avx2", "fma"})
_AVX512: Final = _AVX2 | {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}
_BF16: Final = _AVX512 | {"avx512_bf16"}

_NEEDS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "Haswell": _AVX2,
        "Zen": _AVX2,
        "SkylakeX": _AVX512,
        "Cooperlake": _BF16,
        "SapphireRapids": _BF16 | {"avx512_fp16", "amx_tile", "amx_bf16"},
    }
)
"""For each core type since AVX2 the flags of CPUs that can run its kernels, which are compiled for
the compiler's ``-march`` of that CPU (OpenBLAS, ``Makefile.x86_64``). Older ones are left out: a
CPU with AVX2 has no use for them, and one without has been known to OpenBLAS for long."""

_X86_64: Final = frozenset({"x86_64", "AMD64"})


def runnable(cpu: Cpu) -> tuple[str, ...]:
    """The core types whose kernels this CPU can run, older ones first."""
    if cpu.architecture not in _X86_64:
        return ()
    return tuple(name for name, needs in _NEEDS.items() if needs <= cpu.flags)


def nothing_to_choose(cpu: Cpu, blas: Blas) -> str:
    """Why there is no core type to choose here, in half a sentence; "" if there is."""
    if blas.name != "openblas":
        return f"NumPy uses {blas.name}, which chooses its kernels itself"
    if cpu.architecture not in _X86_64:
        return f"core types are known here for x86-64 only, this CPU is {cpu.architecture}"
    if not cpu.flags:
        return "this system does not tell what its CPU can run"
    if not runnable(cpu):
        return "this CPU has no AVX2, and OpenBLAS knows those"
    return ""
