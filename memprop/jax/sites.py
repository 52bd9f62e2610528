"""Where in the user's own program an equation comes from."""

import contextlib
import functools
import os
import re
from pathlib import Path
from typing import Any, Final

import jax
from jax.extend import source_info_util

_FRAME: Final = re.compile(r"(?P<file>.*?):(?P<line>\d+)(:\d+)? \((?P<function>.*)\)$")
_LIBRARIES: Final = (
    *(f"{Path(file).parent}{os.sep}" for file in (jax.__file__, __file__)),
    contextlib.__file__,  # decorators of JAX's go through these
    functools.__file__,
)


def reported(source_info: Any) -> str:
    """The place as ``jax.ad_checkpoint.print_saved_residuals`` writes it, with the whole path."""
    return source_info_util.summarize(source_info)


def place(equation: Any, caller: str) -> str:
    """``"file.py:line (function)"``; "" if no line of the user's made the equation.

    Args:
        equation: of a jaxpr.
        caller: the line to give instead, where the equation is of a function of JAX's own.
    """
    if caller:
        return caller
    frame = _FRAME.match(reported(equation.source_info))
    if frame is None or in_library(frame["file"]):
        return ""
    return written(frame["file"], int(frame["line"]), frame["function"])


def written(file: str, line: int, function: str) -> str:
    """A place as it stands in tables and messages."""
    return f"{Path(file).name}:{line} ({function})"


def in_library(file: str) -> bool:
    """Whether ``file`` belongs to JAX or to this adapter, and not to the user's program."""
    return file.startswith(_LIBRARIES)


def is_library(jaxpr: Any) -> bool:
    """Whether ``jaxpr`` is of a function in JAX itself, such as ``jax.nn.relu``.

    JAX traces such a function once and uses the jaxpr again, so that the lines in it are those of
    the first caller.
    """
    source = jaxpr.debug_info.func_src_info or ""
    return in_library(source.partition(" at ")[2])
