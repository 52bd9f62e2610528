"""Which line of the user's program runs."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Final

import torch

from memprop.code_lines import code_line

_INNER: Final = tuple(
    str(folder) + os.sep for folder in (Path(torch.__file__).parent, Path(__file__).parents[2])
)
_INSTALLED: Final = tuple(
    {sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_COMPILED: Final = "compile_wrapper"
"""The function of torch._dynamo.eval_frame that calls what torch.compile has made."""


class Lines:
    """Finds the lines that run.

    Args:
        wanted: whether to; else each is "".

    Attributes:
        compiled: whether one was seen that torch.compile had compiled.
    """

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted
        self.compiled = False

    def current(self) -> str:
        """The innermost line of the user's program, as ``train.py:12``.

        Lines of installed packages count only if there are no others.
        """
        innermost = None
        for frame in _frames():
            filename = frame.f_code.co_filename
            if _is_inner(filename):
                self.compiled |= frame.f_code.co_name == _COMPILED
                continue
            innermost = innermost or frame
            if not _is_installed(filename):
                return code_line(filename, frame.f_lineno)
        if innermost is None:
            return ""
        return code_line(innermost.f_code.co_filename, innermost.f_lineno)


def users_frames() -> Iterator[FrameType]:
    """The calls that run, innermost first, but for those of PyTorch and memprop."""
    return (frame for frame in _frames() if not _is_inner(frame.f_code.co_filename))


def _frames() -> Iterator[FrameType]:
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


@cache
def _is_inner(filename: str) -> bool:
    return filename.startswith((*_INNER, "<frozen"))


@cache
def _is_installed(filename: str) -> bool:
    return filename.startswith(_INSTALLED)
