"""The library that does NumPy's matrix products, as it is loaded in this process."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Blas:
    """A BLAS library.

    Attributes:
        name: openblas, mkl, blis, ...; where the library does not say, what NumPy was built with.
        version: its version, "" if unknown.
        core_type: for which CPU the kernels are that it uses, "" if it does not say.
        threads: how many a product may use; ``None`` if it does not say.
        file: the name of its file, which tells builds of one version apart; "" if unknown.
    """

    name: str
    version: str
    core_type: str = ""
    threads: int | None = None
    file: str = ""


def blas_of_numpy() -> Blas:
    """The library that NumPy uses here."""
    found = _numpys(_loaded())
    if found is None:
        return _built_with()
    return Blas(
        found["internal_api"],
        found["version"] or "",
        found.get("architecture") or "",
        found["num_threads"],
        Path(found["filepath"]).name,
    )


def _loaded() -> list[dict[str, Any]]:
    """Every BLAS library that is loaded, in the order in which they were."""
    from threadpoolctl import threadpool_info

    with warnings.catch_warnings():
        # Of two OpenMP libraries in one process it warns; that is not what is asked here.
        warnings.simplefilter("ignore", RuntimeWarning)
        libraries = threadpool_info()
    return [library for library in libraries if library["user_api"] == "blas"]


def _numpys(libraries: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """NumPy's own: its wheels bring one in a folder of theirs; others find the first loaded."""
    for library in libraries:
        if {"numpy.libs", "numpy"} & set(Path(library["filepath"]).parts):
            return library
    return next(iter(libraries), None)


def _built_with() -> Blas:
    built = np.show_config(mode="dicts") or {}
    blas = built.get("Build Dependencies", {}).get("blas", {})
    return Blas(blas.get("name") or "unknown", blas.get("version") or "")
