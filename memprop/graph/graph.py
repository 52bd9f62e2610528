"""What is computed: variables and the operators between them, as immutable data.

A graph is in single-assignment form: a variable is written by one operator at most, and the
operators stand in an order in which each reads only what exists. What is kept, freed or computed
again is not the graph's business but a schedule's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from memprop.errors import GraphError
from memprop.graph.affine import BATCH, Affine, Shape, elements
from memprop.graph.rules import ArraySpec, Rule, rule
from memprop.terms import CATEGORIES, PERSISTENT, PHASES


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
        check(self)

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
        """The floating-point operations of one run of ``operator``."""
        operands = (self.by_name[name].spec for name in operator.inputs)
        return operator.definition.flops(*operands, **dict(operator.attributes))


def extend(
    graph: Graph,
    variables: Iterable[Variable],
    operators: Iterable[Operator],
    outputs: Iterable[str] = (),
) -> Graph:
    """``graph`` with more at its end."""
    return replace(
        graph,
        variables=(*graph.variables, *variables),
        operators=(*graph.operators, *operators),
        outputs=(*graph.outputs, *outputs),
    )


def apply_rule(
    name: str,
    *,
    operator: str,
    inputs: Iterable[Variable],
    outputs: Iterable[tuple[str, str]],
    phase: str,
    layer: int | None = None,
    **attributes: Any,
) -> tuple[Operator, tuple[Variable, ...]]:
    """One operator and the variables it makes, their shapes inferred by its rule.

    Args:
        name: the rule.
        operator: the name of the new operator.
        inputs: the variables it reads.
        outputs: name and category of each variable it writes.
        phase: the phase it runs in.
        layer: the layer that operator and variables belong to.
        attributes: constants of the kernel.

    Returns:
        The operator, and its outputs followed by its workspace.
    """
    definition = rule(name)
    operands = tuple(inputs)
    specs = [operand.spec for operand in operands]
    results = [
        Variable(name=n, shape=spec.shape, dtype=spec.dtype, category=category, layer=layer)
        for (n, category), spec in zip(outputs, definition.infer(*specs, **attributes), strict=True)
    ]
    scratch = [
        Variable(
            name=f"{operator}:{port}",
            shape=spec.shape,
            dtype=spec.dtype,
            category="workspace",
            layer=layer,
        )
        for port, spec in zip(
            definition.scratch, definition.infer_scratch(*specs, **attributes), strict=True
        )
    ]
    node = Operator(
        name=operator,
        rule=name,
        inputs=tuple(operand.name for operand in operands),
        outputs=tuple(variable.name for variable in results),
        workspace=tuple(variable.name for variable in scratch),
        attributes=tuple(attributes.items()),
        phase=phase,
        layer=layer,
    )
    return node, (*results, *scratch)


def check(graph: Graph) -> None:
    """Raise GraphError unless ``graph`` is well formed: names, order, shapes, categories."""
    if len(graph.by_name) != len(graph.variables):
        raise GraphError(f"two variables are named {_repeated(graph.variables)!r}")
    if len(graph.operators_by_name) != len(graph.operators):
        raise GraphError(f"two operators are named {_repeated(graph.operators)!r}")
    for variable in graph.variables:
        _check_variable(variable)
    known = {variable.name for variable in graph.sources}
    for operator in graph.operators:
        _check_operator(graph, operator, known)
        known.update(operator.outputs)
    for name in graph.outputs:
        if name not in known:
            raise GraphError(f"the output {name!r} is computed by no operator")


def _repeated(nodes: Iterable[Variable | Operator]) -> str:
    names = [node.name for node in nodes]
    return next(name for name in names if names.count(name) > 1)


def _check_variable(variable: Variable) -> None:
    if variable.category not in CATEGORIES:
        raise GraphError(f"{variable.name} has the unknown category {variable.category!r}")
    for dim in variable.shape:
        if dim != BATCH and not (isinstance(dim, int) and dim > 0):
            raise GraphError(f"{variable.name} has the shape {variable.shape}: {dim!r} is no size")
    if variable.shape.count(BATCH) > 1:
        raise GraphError(f"{variable.name} has the batch size twice in its shape {variable.shape}")


def _check_operator(graph: Graph, operator: Operator, known: set[str]) -> None:
    if operator.phase not in PHASES:
        raise GraphError(f"{operator.name} has the unknown phase {operator.phase!r}")
    for name in operator.inputs:
        if name not in known:
            raise GraphError(f"{operator.name} reads {name!r}, which nothing before it computes")
    for name in operator.outputs:
        if name in known:
            raise GraphError(f"{operator.name} writes {name!r} a second time")
    _check_shapes(graph, operator)


def _check_shapes(graph: Graph, operator: Operator) -> None:
    """Hold the declared shapes against what the operator's rule infers."""
    definition, attributes = operator.definition, dict(operator.attributes)
    definition.ports(len(operator.inputs))
    operands = [graph.by_name[name].spec for name in operator.inputs]
    inferred = (
        *definition.infer(*operands, **attributes),
        *definition.infer_scratch(*operands, **attributes),
    )
    declared = operator.outputs + operator.workspace
    if len(inferred) != len(declared):
        raise GraphError(f"{operator.name} writes {len(inferred)} variables, not {len(declared)}")
    for name, spec in zip(declared, inferred, strict=True):
        if graph.by_name[name].spec != spec:
            raise GraphError(
                f"{operator.name} writes {name} as {graph.by_name[name].spec}, its rule says {spec}"
            )
