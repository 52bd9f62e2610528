"""A whole step, laid out flat: what is there before, what is done, what is left."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from memprop.jax.program import Operand, Step, Value


class Timed(NamedTuple):
    """A step, and the phase of the training step that it belongs to."""

    phase: str
    step: Step


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A training step in program order.

    Attributes:
        given: what is there before it, with the category of each: arguments, captured arrays.
        steps: what is done.
        outlive: what comes out; it is not freed.
        donated: those of ``given`` that the caller donates: freed after their last read.
        categories: of values whose category does not follow from the phase that makes them.
        names: of values that are called something else than what made them.
        recomputed: values of the backward pass that are activations, made once more.
    """

    given: Mapping[Value, str]
    steps: tuple[Timed, ...]
    outlive: tuple[Operand, ...]
    donated: frozenset[Value] = frozenset()
    categories: Mapping[Value, str] = field(default_factory=dict)
    names: Mapping[Value, str] = field(default_factory=dict)
    recomputed: frozenset[Value] = frozenset()
