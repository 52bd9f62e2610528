"""Keywords that were renamed: the old name still works, and warns."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from memprop.errors import InvalidValueError

P = ParamSpec("P")
R = TypeVar("R")


def renamed_keyword(old: str, new: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: the function takes the argument ``new`` under its ``old`` name as well."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> R:
            if old in kwargs:
                if new in kwargs:
                    raise InvalidValueError(
                        f"{old} is the old name of {new}: give one of them, not both"
                    )
                warnings.warn(f"{old}= is called {new}= now", DeprecationWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate
