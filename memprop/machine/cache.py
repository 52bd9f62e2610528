"""Checks of core types that were made before, by machine, in the user's cache folder.

A cache that cannot be read or written is no error: the check is made again. Of two processes that
write at the same time, one may lose its entry, and nobody ever reads half a file.
"""

import hashlib
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from memprop.documents import from_json
from memprop.errors import OutputError
from memprop.files import write_whole
from memprop.machine.blas import Blas
from memprop.machine.check import Check
from memprop.machine.cpu import Cpu

_METHOD: Final = 1
"""To be counted up when the check measures something else, or other core types."""


def cache_file() -> Path:
    """Where checks are kept: in ``$XDG_CACHE_HOME``, or where the platform has its caches."""
    usual = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(usual)  # noqa: PTH111 - cannot fail
    return Path(folder) / "memprop" / "blas.json"


def key_of(cpu: Cpu, blas: Blas) -> str:
    """What a check holds for: a CPU with these flags and cores, a build of a library."""
    flags = hashlib.sha256(" ".join(sorted(cpu.flags)).encode()).hexdigest()[:16]
    machine = f"{cpu.model}, {cpu.architecture}, flags {flags}, {cpu.cores} cores"
    return f"{machine}; {blas.name} {blas.version} {blas.file}; method {_METHOD}"


def remembered(key: str) -> Check | None:
    """The check that was made under ``key``, if there is one."""
    return _read().get(key)


def remember(key: str, check: Check) -> None:
    """Keep ``check`` under ``key``, if the cache can be written."""
    path = cache_file()
    checks = {**_read(), key: check}
    text = json.dumps({key: asdict(check) for key, check in checks.items()}, indent=1)
    with suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)


def _read() -> dict[str, Check]:
    try:
        return from_json(dict[str, Check], cache_file().read_bytes())
    except (OSError, ValueError):
        return {}
