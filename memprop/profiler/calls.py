"""One call of NumPy: it runs on plain arrays, and its results are watched again.

Nothing is computed here: the function gets the same memory with the same strides as it would have
got without watching, so what it returns is the same to the bit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """What is called, and what it does to arrays.

    Attributes:
        name: of the operator, such as "matmul" or "add.reduce".
        function: what runs.
        args: its positional arguments.
        kwargs: its keyword arguments.
        inputs: what it reads, in any nesting of lists, tuples and dicts.
        written: the arrays that it writes into.
        partial: whether something of what stood there is left.
        identity: what tells the count of operations.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: Any
    written: Sequence[np.ndarray] = ()
    partial: bool = False
    identity: Callable[..., Any] | None = None


@dataclass(slots=True)
class Operands:
    """The arrays of one call, and the plain ones that stand for them.

    Attributes:
        original: the array of the user's program for each plain one, by ``id``.
    """

    original: dict[int, np.ndarray] = field(default_factory=dict)
    _alive: list[np.ndarray] = field(default_factory=list)

    def plain(self, tree: Any) -> Any:
        """``tree`` with plain arrays in place of watched ones."""
        return replace(tree, self._plain_leaf)

    def _plain_leaf(self, leaf: Any) -> Any:
        if not isinstance(leaf, np.ndarray):
            return leaf
        plain = plain_array(leaf)
        self.original[id(plain)] = leaf
        self._alive.append(plain)  # an id stands for it only as long as it lives
        return plain


def plain_array(array: np.ndarray) -> np.ndarray:
    """The same memory as a plain array; ``array`` itself unless it is watched."""
    if not getattr(type(array), "is_watched", False):
        return array
    base = array.base
    # What it was made from, if that is the same window on the memory: views of views of views
    # would build a chain of bases, which NumPy cuts short for arrays of one type only.
    if type(base) is np.ndarray and (base.shape, base.strides, base.dtype) == (
        array.shape,
        array.strides,
        array.dtype,
    ):
        return base
    return array.view(np.ndarray)


def replace(tree: Any, leaf: Callable[[Any], Any]) -> Any:
    """``tree`` with every leaf replaced; lists, tuples, named tuples and dicts are walked."""
    if type(tree) in (list, tuple):
        return type(tree)([replace(item, leaf) for item in tree])
    if type(tree) is dict:
        return {key: replace(item, leaf) for key, item in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_make"):
        return type(tree)(*(replace(item, leaf) for item in tree))
    return leaf(tree)


def arrays_in(tree: Any, found: list[np.ndarray] | None = None) -> list[np.ndarray]:
    """Every array of ``tree``, after those that are in ``found`` already."""
    found = [] if found is None else found
    if isinstance(tree, np.ndarray):
        found.append(tree)
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            arrays_in(item, found)
    elif type(tree) is dict:
        for item in tree.values():
            arrays_in(item, found)
    return found
