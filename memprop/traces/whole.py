"""Files that are there in full or not at all."""

import os
from pathlib import Path

from memprop.errors import OutputError


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` beside ``path`` and move it there, so that nobody ever sees half a file.

    What stood there before stays if the writing fails. Links are followed, and devices and pipes
    are written straight into.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        _write(Path(os.path.realpath(path)), data)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot write to {os.fspath(path)!r}: {reason}") from None


def _write(target: Path, data: bytes) -> None:
    if target.exists() and not target.is_file():
        target.write_bytes(data)
        return
    beside = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        beside.write_bytes(data)
        if target.exists():
            beside.chmod(target.stat().st_mode)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
