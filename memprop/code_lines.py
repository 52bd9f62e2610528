"""Lines of a program as people read them: ``net.py:12``, or ``Cell In[3]:12`` in a notebook."""

import sys
from functools import cache
from pathlib import Path


def code_line(filename: str, line: int) -> str:
    """A line of code: the path below the working directory or a folder of ``sys.path``, and where.

    A cell of a notebook is called as IPython calls it.
    """
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
