"""Python files that a specification imports, to register operators, witnesses and the like."""

import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from memprop.errors import DataError

_done: Final[set[Path]] = set()


def import_files(paths: Sequence[str]) -> None:
    """Run each of these files once in this process.

    Raises:
        DataError: a file is missing, or fails; the message says which, and where.
    """
    for name in paths:
        path = Path(name).resolve()
        if path in _done:
            continue
        if not path.is_file():
            raise DataError(f"there is no file {name!r} to import, expected a Python file")
        _run(path, name)
        _done.add(path)


def _run(path: Path, name: str) -> None:
    spec = importlib.util.spec_from_file_location(f"memprop_imports_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise DataError(f"{name!r} cannot be imported: expected a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise DataError(f"{name!r} failed: {type(error).__name__}: {error}") from error


def digest_of(paths: Sequence[str]) -> str:
    """SHA-256 of what is in these files, of a missing one nothing; empty if there are none."""
    if not paths:
        return ""
    digest = hashlib.sha256()
    for name in paths:
        path = Path(name)
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()
