"""One sweep at a time in a folder."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from memprop.errors import FolderInUseError, OutputError
from memprop.files import write_whole

FILE: Final = ".lock"
HOLDER: Final = ".lock.holder"
"""Who holds the lock, for the message to others; the lock itself is the system's."""

_MOST_SHOWN: Final = 200


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder``, which is there, against other sweeps.

    The system releases the lock when this process ends, however that happens.

    Raises:
        FolderInUseError: another sweep holds it.
        OutputError: the lock cannot be made.
    """
    path, holder = folder / FILE, folder / HOLDER
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise FolderInUseError(
            f"another sweep runs in {folder} ({_described(holder)}): "
            "wait for it or stop it, or choose another folder with --out"
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{path} cannot be made: {reason}") from None
    try:
        began = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(OutputError):  # a full disk: the lock holds all the same
            write_whole(holder, f"process {os.getpid()} on {platform.node()} since {began}")
        yield
    finally:
        try:
            holder.unlink(missing_ok=True)
            if os.name != "nt":  # Windows removes no file that is open; there filelock does so
                path.unlink(missing_ok=True)  # while it is held: nobody can have locked it since
        finally:
            lock.release()


def _described(holder: Path) -> str:
    """What the sweep that holds the lock has written of itself."""
    try:
        return holder.read_bytes()[:_MOST_SHOWN].decode("utf-8", "replace")
    except OSError:
        return "it has just begun"
