"""Making graphs: one operator at a time, its results shaped by its rule."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from memprop.graph.nodes import Operator, Variable
from memprop.graph.rules import ArraySpec, rule
from memprop.graph.signature import signature

if TYPE_CHECKING:
    from memprop.graph.graph import Graph


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
    operands, constants = tuple(inputs), tuple(attributes.items())
    made = signature(name, tuple([operand.spec for operand in operands]), constants)
    results = _variables(outputs, made.results, layer)
    scratch = ()
    if made.scratch:
        ports = ((f"{operator}:{port}", "workspace") for port in rule(name).scratch)
        scratch = _variables(ports, made.scratch, layer)
    reads, writes, workspace = map(_names, (operands, results, scratch))
    node = Operator(operator, name, reads, writes, workspace, constants, phase, layer)
    return node, results + scratch


def _names(variables: tuple[Variable, ...]) -> tuple[str, ...]:
    return tuple([variable.name for variable in variables])


def _variables(
    named: Iterable[tuple[str, str]], specs: Iterable[ArraySpec], layer: int | None
) -> tuple[Variable, ...]:
    """A variable for each name and category, with the shape and dtype inferred for it."""
    return tuple(
        [
            Variable(name, shape, dtype, category, layer)
            for (name, category), (shape, dtype) in zip(named, specs, strict=True)
        ]
    )


def extend(
    graph: "Graph",
    variables: Iterable[Variable],
    operators: Iterable[Operator],
    outputs: Iterable[str] = (),
) -> "Graph":
    """``graph`` with more at its end, which :func:`apply_rule` made."""
    return graph.of_rules(
        variables=(*graph.variables, *variables),
        operators=(*graph.operators, *operators),
        outputs=(*graph.outputs, *outputs),
        objective=graph.objective,
    )
