"""One sweep at a time in a folder."""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from memprop.errors import FolderInUseError, OutputError

FILE: Final = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder``, which is there, against other sweeps.

    The system lets go of it at the latest when this process ends, however that may be.

    Raises:
        FolderInUseError: another sweep holds it.
        OutputError: the lock cannot be made.
    """
    path = folder / FILE
    descriptor = _acquired(path)
    try:
        os.ftruncate(descriptor, 0)
        began = datetime.now(UTC).isoformat(timespec="seconds")
        os.write(descriptor, f"process {os.getpid()} on {platform.node()} since {began}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquired(path: Path) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OutputError(f"{path} cannot be made: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode("utf-8", "replace")
            os.close(descriptor)
            raise FolderInUseError(
                f"another sweep runs in {path.parent} ({holder or 'it has just begun'}): "
                "wait for it or stop it, or choose another folder with --out"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise OutputError(f"{path} cannot be locked: {error.strerror}") from None
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)  # its last holder has just removed it


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
