"""A jaxpr laid out flat: one step after the other, in program order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """An array of the program; two are the same if they are the same object.

    Attributes:
        name: of an argument, of a primitive, or a ``checkpoint_name``.
        shape: of the array.
        dtype: by name.
        bytes: its size.
        scratch: whether it lives in the body of a loop only.
        base: the value in whose storage it lies, if it is a view.
        literal: whether it is a number written into the program, in whose storage nothing lies.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    scratch: bool = False
    base: "Value | None" = None
    literal: bool = False

    @property
    def storage(self) -> "Value":
        """The value whose buffer this is."""
        return self if self.base is None else self.base.storage


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """An equation without anything inside.

    Attributes:
        operator: its primitive, with the loops that it is in: "scan/tanh".
        site: the line of the user's program.
        reads: the values that it reads; literals are left out.
        makes: the values that it makes.
        keeps: values that may not die before it, though it does not read them.
        mark: of which pass it says to be: "forward", "backward", "step" for a loop with both
            inside, "" if it does not say.
        recomputed: whether it says to compute again what a checkpoint did not keep.
        flops: floating-point operations of all its runs; ``None`` where they are not known.
    """

    operator: str
    site: str
    reads: tuple[Value, ...] = ()
    makes: tuple[Value, ...] = ()
    keeps: tuple[Value, ...] = ()
    mark: str = ""
    recomputed: bool = False
    flops: int | None = None


Operand = Value | None
"""A value, or ``None`` for a literal, which takes no memory."""


class Block(NamedTuple):
    """Steps, and what comes out of them."""

    steps: list[Step]
    outputs: list[Operand]


@dataclass(frozen=True)
class Scope:
    """Where an equation stands.

    Attributes:
        prefix: the loops and branches around it, as the beginning of a name: "scan/".
        loop: whether one of them is a loop.
        site: the line that called a function of JAX's own; "" outside of such.
        mark: the pass that the calls around it say to be of; "" if they do not say.
        recomputed: whether one of them says to compute again.
        axes: the axes of a mesh over which a ``shard_map`` around it splits, with their sizes.
        tracked: whether types say over which of these axes their shards differ.
        constants: the arrays captured by closure, by ``id``; shared by all scopes of a program.
        runs: how often an equation here is run, on all devices; ``None`` if only its data tell.
    """

    prefix: str = ""
    loop: bool = False
    site: str = ""
    mark: str = ""
    recomputed: bool = False
    axes: Mapping[str, int] = field(default_factory=dict)
    tracked: bool = True
    constants: dict[int, Value] = field(default_factory=dict)
    runs: int | None = 1


def present(operands: Iterable[Operand]) -> tuple[Value, ...]:
    """The values among ``operands``, each once."""
    return tuple(dict.fromkeys(operand for operand in operands if operand is not None))
