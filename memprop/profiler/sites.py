"""Where in the user's own program something happens: the innermost frame outside NumPy and memprop.

A site reads as :func:`memprop.code_lines.code_line` writes it.
"""

import os
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from memprop.code_lines import code_line

_INNER: Final = tuple(
    str(folder) + os.sep for folder in (Path(np.__file__).parent, Path(__file__).parents[1])
)


def current_site() -> str:
    """The site of the code that is running; "" if it is all NumPy's and memprop's own."""
    frame = sys._getframe(1)
    while frame is not None and is_inner(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame is None else code_line(frame.f_code.co_filename, frame.f_lineno)


def site_of(frames: Iterable[tuple[str, int]]) -> str:
    """The site of a stack of ``(filename, line)``, innermost first.

    Where all of the frames that were kept are NumPy's and memprop's, it is the innermost.
    """
    stack = list(frames)
    for filename, line in stack:
        if not is_inner(filename):
            return code_line(filename, line)
    return code_line(*stack[0]) if stack else ""


@cache
def is_inner(filename: str) -> bool:
    """Whether a file is NumPy's or memprop's."""
    return filename.startswith((*_INNER, "<__array_function__"))
