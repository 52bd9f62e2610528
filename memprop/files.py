"""Files that are there in full or not at all, and one wording where they cannot be written."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from memprop.errors import OutputError

_REMEDIES: Final = {
    errno.EISDIR: "name a file in it",
    errno.ENOSPC: "make room, or name another place",
    errno.EDQUOT: "make room, or name another place",
    errno.EFBIG: "raise the limit on the size of files, or name another place",
}


def make_folder(folder: str | os.PathLike[str]) -> None:
    """Make ``folder`` and those above it.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise told("make the folder", folder, error) from None


def write_whole(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write ``data`` into ``path`` by :func:`whole_file`.

    Text is written in UTF-8, and what is not Unicode in it (a path may be so) escaped.

    Raises:
        OutputError: the file cannot be written.
    """
    with whole_file(path) as file:
        file.write(data.encode(errors="backslashreplace") if isinstance(data, str) else data)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of ``path`` when the block is left.

    Nobody ever sees half a file: what stood there before stays if the block fails. Links are
    followed, and devices and pipes are written straight into.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        with _opened(Path(os.path.realpath(path))) as file:
            yield file
    except OSError as error:
        raise told("write", path, error) from None


@contextmanager
def _opened(target: Path) -> Iterator[BinaryIO]:
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            yield file
        return
    beside = target.with_name(f".memprop-{secrets.token_hex(8)}")
    try:
        with beside.open("xb") as file:
            yield file
        if target.exists():
            beside.chmod(target.stat().st_mode)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def told(doing: str, path: str | os.PathLike[str], error: OSError) -> OutputError:
    """What a user is told of a place that cannot be written, with what to do."""
    reason = error.strerror or error
    return OutputError(f"cannot {doing} {os.fspath(path)!r}: {reason}; {_remedy(path, error)}")


def _remedy(path: str | os.PathLike[str], error: OSError) -> str:
    above = Path(path).parent
    if error.errno == errno.ENOENT and not above.exists():
        return f"make the folder {os.fspath(above)!r} first"
    return _REMEDIES.get(error.errno or 0, "name a place that can be written")
