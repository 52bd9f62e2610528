"""What is computed: variables and the operators between them, as immutable data.

A graph is in single-assignment form: a variable is written by one operator at most, and the
operators stand in an order in which each reads only what exists. What is kept, freed or computed
again is not the graph's business but a schedule's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from memprop.graph import check
from memprop.graph.affine import BATCH, Affine, Shape, elements
from memprop.graph.rules import ArraySpec, Rule, rule
from memprop.terms import PERSISTENT


@dataclass(frozen=True, kw_only=True, slots=True)
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
        return elements(self.shape).times(np.dtype(self.dtype).itemsize)

    @property
    def spec(self) -> ArraySpec:
        """Shape and dtype alone."""
        return ArraySpec(self.shape, self.dtype)

    def shape_at(self, batch: int) -> tuple[int, ...]:
        """The shape for one batch size."""
        return tuple(batch if dim == BATCH else dim for dim in self.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
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


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Variables and operators of a step, or of its forward pass alone.

    Attributes:
        variables: all of them; those that no operator writes are the sources of the step.
        operators: in an order in which they can run.
        outputs: the variables that are asked for: alive when the step ends.
        objective: the scalar that is minimised; ``None`` in a graph for inference.

    Raises:
        GraphError: the graph is not well formed; the message names the operator and variable.
    """

    variables: tuple[Variable, ...]
    operators: tuple[Operator, ...]
    outputs: tuple[str, ...]
    objective: str | None = None

    def __post_init__(self) -> None:
        check.check(self)

    @cached_property
    def by_name(self) -> Mapping[str, Variable]:
        """The variables by name."""
        return {variable.name: variable for variable in self.variables}

    @cached_property
    def operators_by_name(self) -> Mapping[str, Operator]:
        """The operators by name."""
        return {operator.name: operator for operator in self.operators}

    @cached_property
    def sources(self) -> tuple[Variable, ...]:
        """The variables that no operator writes: inputs, parameters, optimizer state."""
        written = {name for op in self.operators for name in op.outputs + op.workspace}
        return tuple(variable for variable in self.variables if variable.name not in written)

    @property
    def parameters(self) -> tuple[Variable, ...]:
        """The parameters, as the step finds them."""
        return tuple(v for v in self.sources if v.category == "parameter")

    def survives(self, name: str) -> bool:
        """Whether a variable may be alive when the step ends."""
        return name in self._outputs or self.by_name[name].category in PERSISTENT

    @cached_property
    def _outputs(self) -> frozenset[str]:
        return frozenset(self.outputs)

    def flops(self, operator: Operator) -> Affine:
        """The floating-point operations of one run of ``operator``, which is one of its own."""
        return self._flops[operator.name]

    def bytes_at(self, batch: int) -> dict[str, int]:
        """The size of every variable by name, for one batch size."""
        return {name: size.at(batch) for name, size in self._sizes.items()}

    def overwrites(self, operator: Operator) -> "Overwrites":
        """Which results of ``operator`` lie over an operand, as pairs ``(target, operand)``."""
        return self._overwrites[operator.name]

    # Planners ask for these very often.

    @cached_property
    def _flops(self) -> Mapping[str, Affine]:
        return {operator.name: self._flops_of(operator) for operator in self.operators}

    def _flops_of(self, operator: Operator) -> Affine:
        operands = (self.by_name[name].spec for name in operator.inputs)
        return operator.definition.flops(*operands, **dict(operator.attributes))

    @cached_property
    def _sizes(self) -> Mapping[str, Affine]:
        return {variable.name: variable.nbytes for variable in self.variables}

    @cached_property
    def _overwrites(self) -> Mapping[str, "Overwrites"]:
        return {operator.name: self._overwrites_of(operator) for operator in self.operators}

    def _overwrites_of(self, operator: Operator) -> "Overwrites":
        definition = operator.definition
        fitting = (
            (target, operand)
            for target, operand in operator.pairs(definition.in_place)
            if self.by_name[target].spec == self.by_name[operand].spec
        )
        return Overwrites(operator.pairs(definition.updates), tuple(fitting))


class Overwrites(NamedTuple):
    """Pairs ``(target, operand)`` of an operator's results and operands.

    Attributes:
        always: those that share their storage by their very meaning.
        where_dead: those that may, where the operand dies: the rule allows it, and the two are of
            one shape and dtype.
    """

    always: tuple[tuple[str, str], ...]
    where_dead: tuple[tuple[str, str], ...]
