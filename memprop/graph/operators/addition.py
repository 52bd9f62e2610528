"""Sums of two variables: skip connections h = f(x) + x (He et al. 2016), and gradients that meet.

The derivative of a sum passes the gradient on to both operands as it is, so backward reads nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from memprop.errors import GraphError, InvalidValueError
from memprop.graph.layers import Layer, listed
from memprop.graph.rules import ArraySpec, Call, Gradient, Rule, flops_per_element
from memprop.registry import register

if TYPE_CHECKING:
    from memprop.graph.build import NetworkBuilder
    from memprop.graph.nodes import Variable


@dataclass(frozen=True, repr=False)
class Residual(Layer):
    """Adds its input to the output of its layers, which must have the same shape.

    Attributes:
        layers: what computes f.
    """

    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        layers = listed("Residual", self.layers)
        if not layers:
            raise InvalidValueError("Residual needs at least one layer, got []")
        object.__setattr__(self, "layers", layers)

    def apply(self, net: "NetworkBuilder", x: "Variable") -> "Variable":
        """Add f(x) + x to ``net``."""
        return net.residual(self.layers, x)


def _same_shape(a: ArraySpec, b: ArraySpec) -> tuple[ArraySpec, ...]:
    if a != b:
        raise GraphError(f"{a} and {b} cannot be added: they must have one shape and dtype")
    return (a,)


def _add(a: np.ndarray, b: np.ndarray, total: np.ndarray) -> Iterator[Call]:
    yield partial(np.add, a, b, total)


register(
    Rule(
        name="add",
        reads=("a", "b"),
        writes=("sum",),
        symbol="+",
        infer=_same_shape,
        kernel=_add,
        flops=flops_per_element(1),
        in_place=(("sum", "a"), ("sum", "b")),
        gradients=(
            Gradient(of="a", rule=None, reads=("dsum",)),
            Gradient(of="b", rule=None, reads=("dsum",)),
        ),
    ),
)
