"""Who competes: which contenders there are, on how many threads, in which environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Final

from memprop.machine.blas import blas_of_numpy
from memprop.machine.choice import by_measurement
from memprop.machine.cpu import this_cpu, usable_cores
from memprop.machine.race import CORE_TYPE

ENGINE: Final = "memprop"
LIMIT: Final = "GEMM limit"
EAGER: Final = "PyTorch eager"
COMPILED: Final = "PyTorch compile"
JAX: Final = "JAX jit"
PEERS: Final = (EAGER, COMPILED, JAX)

PACKAGES: Final[Mapping[str, str]] = {EAGER: "torch", COMPILED: "torch", JAX: "jax"}
_MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    LIMIT: ("gemm",),
    ENGINE: ("engine",),
    EAGER: ("pytorch", "eager"),
    COMPILED: ("pytorch", "compile"),
    JAX: ("jax_jit",),
}


@dataclass(frozen=True)
class Contender:
    """A process that is measured.

    Attributes:
        name: as it stands in the tables.
        command: its module in ``contenders``, and the arguments of that.
        threads: that it computes with.
        package: what must be installed for it; "" if everything is.
        environment: beside the one that all have.
    """

    name: str
    command: tuple[str, ...]
    threads: int = 1
    package: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def absent(self) -> str:
        """Why it cannot compete; "" if it can."""
        missing = self.package and find_spec(self.package) is None
        return "not installed" if missing else ""


def contender(name: str, threads: int, environment: Mapping[str, str] | None = None) -> Contender:
    """The contender of that name, such as "JAX jit"."""
    return Contender(
        name,
        (*_MODULES[name], str(threads)),
        threads,
        PACKAGES.get(name, ""),
        {**blas(threads), **(environment or {})},
    )


def own(module: str, threads: int = 1) -> Contender:
    """A contender that measures memprop alone, in a module of its own."""
    return Contender(module, (module,), threads, environment=blas(threads))


def lineup(names: tuple[str, ...] = (LIMIT, ENGINE, *PEERS)) -> list[Contender]:
    """Each of ``names`` on each number of threads."""
    return [contender(name, threads) for name in names for threads in thread_counts()]


def thread_counts() -> tuple[int, ...]:
    """One and two threads, where there are two cores."""
    return (1, 2) if usable_cores() > 1 else (1,)


def blas(threads: int) -> dict[str, str]:
    """The settings of NumPy's matrix products: their threads, and the kernels that fit."""
    core = core_type()
    return {
        "OPENBLAS_NUM_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        **({CORE_TYPE: core} if core else {}),
    }


@cache
def core_type() -> str:
    """The fastest OpenBLAS kernels by a measured check; "" for those that OpenBLAS takes itself."""
    return by_measurement(this_cpu(), blas_of_numpy()).core_type


def surroundings() -> dict[str, str]:
    """The environment that contenders have in common: this one, but for settings of OpenBLAS.

    What a shell has set there is not what the machine can do, and it would hold back NumPy alone.
    """
    return {name: v for name, v in os.environ.items() if not name.startswith("OPENBLAS_")}
