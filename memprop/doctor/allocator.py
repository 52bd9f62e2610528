"""The C library's allocator, which decides when freed memory goes back to the kernel."""

import os
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from memprop.doctor.finding import GOOD, NOTICE, Finding
from memprop.probes.kernel import ENVIRONMENT

SECTION: Final = "allocator"
_MAPS: Final = Path("/proc/self/maps")
_OTHERS: Final = re.compile(r"(?:jemalloc|tcmalloc|mimalloc|snmalloc|hoard)", re.IGNORECASE)
_PRELOADS: Final = ("LD_PRELOAD", "DYLD_INSERT_LIBRARIES")


def findings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Findings about the allocator and its settings.

    Args:
        environment: the variables of this process.
    """
    yield _library(environment)
    yield _settings(environment)


def _library(environment: Mapping[str, str]) -> Finding:
    other = _other(environment)
    if other is not None:
        says = f"{other} takes the place of the C library's malloc: what it keeps counts as used."
        do = f"unset {_PRELOADS[0]} where memory is measured from outside (kernel, psutil)."
        return Finding(SECTION, NOTICE, says, do)
    name, version = platform.libc_ver()
    if name != "glibc":
        says = "The C library is not glibc: freed memory may stay with the process."
        do = "Trust tracemalloc and the ledger more than kernel and psutil."
        return Finding(SECTION, NOTICE, says, do)
    return Finding(SECTION, GOOD, f"malloc is that of {name} {version}.")


def _other(environment: Mapping[str, str]) -> str | None:
    """The file of another malloc that is loaded, or asked for; ``None`` if none is known."""
    asked = (path for name in _PRELOADS for path in re.split("[ :]", environment.get(name, "")))
    names = (os.path.basename(path) for path in (*asked, *_loaded()))  # noqa: PTH119 - of any text
    return next((name for name in names if _OTHERS.search(name)), None)


def _loaded() -> list[str]:
    try:
        lines = _MAPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [fields[5] for line in lines if len(fields := line.split(maxsplit=5)) == 6]


def _settings(environment: Mapping[str, str]) -> Finding:
    found = [name for name in sorted(environment) if _is_setting(name, environment[name])]
    if not found:
        return Finding(SECTION, GOOD, "No variable changes what malloc does; trials set their own.")
    said = ", ".join(f"{name}={environment[name]}" for name in found)
    overruled = [name for name in found if name in ENVIRONMENT]
    kept = [name for name in found if name not in ENVIRONMENT]
    status = NOTICE if kept else GOOD
    do = f"unset {' '.join(kept)}, if you did not mean the trials of a sweep." if kept else ""
    note = f" Trials overrule {', '.join(overruled)}." if overruled else ""
    return Finding(SECTION, status, f"malloc has other settings: {said}.{note}", do)


def _is_setting(name: str, value: str) -> bool:
    tuned = name == "GLIBC_TUNABLES" and "malloc" in value
    return tuned or name.startswith("MALLOC_") or name == "PYTHONMALLOC"
