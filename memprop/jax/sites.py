"""Where in the user's own program an equation comes from."""

import re
from pathlib import Path
from typing import Any, Final

import jax
from jax.extend import source_info_util

_FRAME: Final = re.compile(r"(?P<file>.*?):(?P<line>\d+)(:\d+)? \((?P<function>.*)\)$")
_JAX: Final = str(Path(jax.__file__).parent)
_HERE: Final = str(Path(__file__).parent)


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
    if frame is None or frame["file"].startswith(_HERE):
        return ""
    return f"{Path(frame['file']).name}:{frame['line']} ({frame['function']})"


def is_library(jaxpr: Any) -> bool:
    """Whether ``jaxpr`` is of a function in JAX itself, such as ``jax.nn.relu``.

    JAX traces such a function once and uses the jaxpr again, so that the lines in it are those of
    the first caller.
    """
    source = jaxpr.debug_info.func_src_info or ""
    return source.partition(" at ")[2].startswith(_JAX)
