"""Optional packages, by what their installation says; none is imported."""

import importlib.metadata
from collections.abc import Iterator
from typing import Final

from memprop.doctor.finding import GOOD, NOTICE, Finding

SECTION: Final = "extras"
EXTRAS: Final = {"torch": "torch", "jax": "jax", "dask": "distributed", "notebook": "ipython"}
"""By extra of memprop the distribution that it brings."""


def findings() -> Iterator[Finding]:
    """Findings about each extra."""
    for extra, distribution in EXTRAS.items():
        version = _version(distribution)
        if version is None:
            do = f'pip install "memprop[{extra}]", if you need it.'
            yield Finding(SECTION, NOTICE, f"{distribution} is not installed.", do)
        else:
            yield Finding(SECTION, GOOD, f"{distribution} {version} is installed.")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
