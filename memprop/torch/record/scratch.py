"""What a kernel takes for itself while it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """The buffers of one call of a kernel, which live beside its results until it ends.

    Attributes:
        sizes: bytes of each, in the order in which they are allocated.
        guessed: whether the sizes are fitted to measurements, and not known from a source.
    """

    sizes: tuple[int, ...] = ()
    guessed: bool = False


@dataclass(frozen=True, kw_only=True)
class Pretence:
    """The device that a simulated step pretends to run on.

    Attributes:
        device: its name, as "cuda:0".
        gpu: which GPU, as "h100".
        scratch: what a kernel takes there for itself: called with the operator, its arguments by
            place and by name, and what it returned.
    """

    device: str
    gpu: str
    scratch: Callable[[Any, Any, dict[str, Any], Any], Scratch]
