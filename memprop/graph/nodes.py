"""What a graph is made of: variables, and the operators that read and write them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from memprop.graph.affine import BATCH, Affine, Shape, elements
from memprop.graph.rules import ArraySpec, Rule, rule


@dataclass(frozen=True, slots=True)
class Variable:
    """A named array of a training step.

    Attributes:
        name: unique in its graph, as the textbook writes it: ``x W1 b1 z1 h1 o L s J``, gradients
            with a ``d`` before it, the updated value of W1 as ``W1'``.
        shape: integers, and ``"batch"`` at most once.
        dtype: a NumPy dtype by name.
        category: one of :data:`memprop.terms.CATEGORIES`.
        layer: 0 for the input, then counted from 1; ``None`` where it belongs to no layer.
    """

    name: str
    shape: Shape
    dtype: str
    category: str
    layer: int | None = None

    @property
    def nbytes(self) -> Affine:
        """The size in bytes."""
        return _nbytes(self.shape, self.dtype)

    @property
    def spec(self) -> ArraySpec:
        """Shape and dtype alone."""
        return ArraySpec(self.shape, self.dtype)

    def shape_at(self, batch: int) -> tuple[int, ...]:
        """The shape for one batch size."""
        return _shape_at(self.shape, batch)


@lru_cache(maxsize=1 << 12)
def _shape_at(shape: Shape, batch: int) -> tuple[int, ...]:
    return tuple(batch if dim == BATCH else dim for dim in shape)


@lru_cache(maxsize=1 << 12)
def _nbytes(shape: Shape, dtype: str) -> Affine:
    return elements(shape).times(np.dtype(dtype).itemsize)


@dataclass(frozen=True, slots=True)
class Operator:
    """A node of the graph: one rule applied to named variables.

    Attributes:
        name: unique in its graph: ``linear_2``, and ``linear_2.dW2`` for the backward operator
            that computes dW2.
        rule: the entry in the table of rules.
        inputs: the variables read, in the order of the rule's ports.
        outputs: the variables written.
        workspace: the variables that live while it runs.
        attributes: constants of the kernel, as ``(name, value)`` pairs.
        phase: one of :data:`memprop.terms.PHASES`.
        layer: the layer it belongs to.
    """

    name: str
    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    workspace: tuple[str, ...] = ()
    attributes: tuple[tuple[str, Any], ...] = ()
    phase: str = "forward"
    layer: int | None = None

    @property
    def definition(self) -> Rule:
        """The rule that this operator applies."""
        return rule(self.rule)

    def pairs(self, ports: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """``(target port, operand port)`` pairs of the rule as pairs of variable names."""
        definition = self.definition
        targets = dict(
            zip(
                definition.writes + definition.scratch,
                self.outputs + self.workspace,
                strict=True,
            )
        )
        operands = dict(zip(definition.ports(len(self.inputs)), self.inputs, strict=True))
        return tuple((targets[target], operands[operand]) for target, operand in ports)
