"""Where results were measured: versions, machine, BLAS and settings, for ``environment.json``."""

import importlib.metadata
import json
import os
import platform
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from memprop.machine.blas import blas_of_numpy
from memprop.machine.choice import SWITCH, Choice
from memprop.machine.cpu import this_cpu
from memprop.machine.race import CORE_TYPE
from memprop.version import __version__

_DISTRIBUTIONS: Final = ("numpy", "scipy", "pandas", "matplotlib", "psutil", "memory_profiler")

_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    CORE_TYPE,
    SWITCH,
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""What decides how many threads and which kernels a matrix product uses."""


def environment(choice: Choice | None = None) -> dict[str, Any]:
    """What a reader needs to judge a measurement, or to repeat it; of types that JSON has.

    Paths are shortened: they say nothing about a result, and name people.

    Args:
        choice: of the BLAS kernels of trials; ``None`` if nothing was chosen for them.
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _command(sys.argv),
        "versions": _versions(),
        "system": _system(),
        "blas": {**_blas(), "kernels": _kernels(choice)},
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def environment_json(choice: Choice | None = None) -> str:
    """:func:`environment` as the text of ``environment.json``."""
    return json.dumps(environment(choice), indent=2) + "\n"


def _command(arguments: list[str]) -> list[str]:
    program, *rest = arguments or [""]
    name = Path(program).name
    return [
        "memprop" if name == "__main__.py" else name,
        *(_without_home(argument) for argument in rest),
    ]


def _without_home(argument: str) -> str:
    """Paths below the working folder become relative, those below the user's own begin with ~."""
    home = os.path.expanduser("~")  # noqa: PTH111 - unlike Path.home, it cannot fail
    return _begun_otherwise(_begun_otherwise(argument, Path.cwd(), ""), home, f"~{os.sep}")


def _begun_otherwise(argument: str, folder: str | Path, replacement: str) -> str:
    """``argument`` with the folder that begins it, or its value (``--out=``), replaced."""
    return re.sub(rf"(^|=){re.escape(f'{folder}{os.sep}')}", rf"\1{replacement}", argument)


def _versions() -> dict[str, str | None]:
    return {
        "memprop": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _DISTRIBUTIONS},
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _system() -> dict[str, Any]:
    cpu = this_cpu()
    return {
        "os": platform.system(),
        "kernel": platform.release(),
        "architecture": cpu.architecture,
        "cpu": cpu.model,
        "cores": os.cpu_count(),
        "cores_usable": cpu.cores,
        "memory_bytes": psutil.virtual_memory().total,
    }


def _blas() -> dict[str, Any]:
    """The matrix library that NumPy was built with; where it was built is left out."""
    built = np.show_config(mode="dicts") or {}
    blas = built.get("Build Dependencies", {}).get("blas", {})
    return {
        "name": blas.get("name"),
        "version": blas.get("version"),
        "configuration": blas.get("openblas configuration"),
        "simd": built.get("SIMD Extensions", {}).get("found", []),
    }


def _kernels(choice: Choice | None) -> dict[str, Any]:
    """Which core type does the products, who chose it, and GFLOP/s of one core where measured."""
    if choice is None:
        choice = Choice("", "user" if os.environ.get(CORE_TYPE) else "library", "")
    rates = choice.check.measured if choice.check is not None else ()
    return {
        "core_type": choice.variables.get(CORE_TYPE) or blas_of_numpy().core_type or None,
        "chosen_by": choice.by,
        "gflops_of_one_core": {found.core_type: dict(found.gflops) for found in rates},
    }
