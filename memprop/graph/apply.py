"""Making graphs: one operator at a time, its results shaped by its rule."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from memprop.graph.graph import Graph, Operator, Variable
from memprop.graph.rules import rule


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
