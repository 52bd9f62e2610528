"""The second tier of a step: files in a folder of the user's, there for one step and no longer."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from memprop.errors import OutputError
from memprop.files import make_folder, told
from memprop.units import format_bytes


class Disk:
    """Arrays in files, each the plain bytes of one array.

    A step has a folder of its own within that of the user, so that any number of steps and
    processes can share one.

    Args:
        folder: where; it is made if it is missing, and stays.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._own: Path | None = None

    def begin(self) -> None:
        """Make a folder for the files of a step.

        Raises:
            OutputError: that cannot be done.
        """
        self.end()
        folder = os.path.expanduser(self._folder)  # noqa: PTH111 - it leaves "~nobody" alone
        make_folder(folder)
        try:
            self._own = Path(tempfile.mkdtemp(prefix=f"memprop-{os.getpid()}-", dir=folder))
        except OSError as error:
            raise told("store variables in", self._folder, error) from None

    def end(self) -> None:
        """Remove the files of the step, and its folder."""
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
            self._own = None

    def write(self, number: int, array: np.ndarray) -> None:
        """Put the bytes of ``array`` into a file.

        Args:
            number: tells it apart from the others that are there.
            array: contiguous.

        Raises:
            OutputError: there is no room, or the folder cannot be written to.
        """
        left = _bytes_of(array)
        try:
            with self._path(number).open("xb", buffering=0) as file:
                while left:
                    left = left[file.write(left) :]
        except OSError as error:
            raise told(f"store {format_bytes(array.nbytes)} in", self._folder, error) from None

    def read(self, number: int, array: np.ndarray) -> None:
        """Bring what was written as ``number`` into ``array``; its file is removed.

        Raises:
            OutputError: the file is gone or too short.
        """
        left, path = _bytes_of(array), self._path(number)
        try:
            with path.open("rb", buffering=0) as file:
                while left and (count := file.readinto(left)):
                    left = left[count:]
            path.unlink()
        except OSError as error:
            raise _missed(path, error.strerror or str(error)) from None
        if left:
            raise _missed(path, f"{len(left)} bytes are missing")

    def _path(self, number: int) -> Path:
        assert self._own is not None  # noqa: S101 - a step begins before it runs
        return self._own / f"{number}.bin"


def _missed(path: Path, reason: str) -> OutputError:
    return OutputError(
        f"cannot read {str(path)!r} back: {reason}; leave the files of a step alone while it runs"
    )


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
