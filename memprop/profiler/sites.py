"""Where in the user's own program something happens: the innermost frame outside NumPy and memprop.

A site reads ``net.py:12``: the path below the working directory or below a folder of ``sys.path``.
A cell of a notebook reads ``Cell In[3]:12``.
"""

import os
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

_INNER: Final = tuple(
    str(folder) + os.sep for folder in (Path(np.__file__).parent, Path(__file__).parents[1])
)


def current_site() -> str:
    """The site of the code that is running; "" if it is all NumPy's and memprop's own."""
    frame = sys._getframe(1)
    while frame is not None and is_inner(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame is None else site(frame.f_code.co_filename, frame.f_lineno)


def site_of(frames: Iterable[tuple[str, int]]) -> str:
    """The site of a stack of ``(filename, line)``, innermost first.

    Where all of the frames that were kept are NumPy's and memprop's, it is the innermost.
    """
    stack = list(frames)
    for filename, line in stack:
        if not is_inner(filename):
            return site(filename, line)
    return site(*stack[0]) if stack else ""


@cache
def is_inner(filename: str) -> bool:
    """Whether a file is NumPy's or memprop's."""
    return filename.startswith((*_INNER, "<__array_function__"))


def site(filename: str, line: int) -> str:
    """A file and line as people read them."""
    return f"{_cell(filename) or _short(filename)}:{line}"


def _cell(filename: str) -> str:
    """The cell of a notebook that IPython keeps under this name; "" if it is none."""
    if "IPython" not in sys.modules:
        return ""
    shell = sys.modules["IPython"].get_ipython()
    named = shell.compile.format_code_name(filename) if shell is not None else None
    return " ".join(named) if named else ""


@cache
def _short(filename: str) -> str:
    path = Path(filename)
    roots = [Path.cwd(), *sorted(map(Path, filter(None, sys.path)), key=_depth, reverse=True)]
    for root in roots:
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.name


def _depth(path: Path) -> int:
    return len(path.parts)
