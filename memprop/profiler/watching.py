"""What may be watched, and the names of arrays inside lists, tuples and dicts."""

from collections.abc import Callable
from typing import Any

import numpy as np

from memprop.errors import InvalidTypeError, InvalidValueError, unknown_name
from memprop.profiler.ledger import Ledger
from memprop.profiler.watched import WatchedArray, watched
from memprop.terms import CATEGORIES


def watch(ledger: Ledger, tree: Any, name: str, category: str) -> Any:
    """``tree`` with every array in it watched by ``ledger``; see :meth:`memprop.Profiler.watch`."""
    if not isinstance(name, str) or not name:
        raise InvalidValueError(f"name must be a string such as 'x', got {name!r}")
    if category not in CATEGORIES:
        raise unknown_name("category", category, CATEGORIES)
    found: list[WatchedArray] = []

    def leaf(value: Any, path: str) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        check_plain(value, path)
        ledger.watch(value, path, category)
        found.append(watched(value, ledger))
        return found[-1]

    result = replace_named(tree, name, leaf)
    if not found:
        raise InvalidTypeError(
            f"{name} must be a NumPy array, or a list, tuple or dict with arrays in it, got "
            f"{type(tree).__name__}: make one by np.asarray"
        )
    return result


def check_plain(array: np.ndarray, name: str) -> None:
    """Raise InvalidTypeError if ``array`` is of a subclass that computes in its own way."""
    if type(array) not in (np.ndarray, WatchedArray):
        raise InvalidTypeError(
            f"{name} is a {type(array).__name__}, which has operations of its own: "
            "watch a plain array, np.asarray(...) of it"
        )


def replace_named(tree: Any, name: str, leaf: Callable[[Any, str], Any]) -> Any:
    """``tree`` with each leaf replaced by ``leaf(value, path)``; paths are ``p.W``, ``x[0]``."""
    if type(tree) is dict:
        return {key: replace_named(value, f"{name}.{key}", leaf) for key, value in tree.items()}
    if not isinstance(tree, (list, tuple)):
        return leaf(tree, name)
    items = [replace_named(value, f"{name}[{index}]", leaf) for index, value in enumerate(tree)]
    return type(tree)(*items) if hasattr(tree, "_make") else type(tree)(items)
