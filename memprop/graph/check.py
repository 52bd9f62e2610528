"""Whether a graph is one: names, order, shapes and categories. Run on every construction."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from memprop.errors import GraphError
from memprop.graph.affine import BATCH
from memprop.graph.signature import signature
from memprop.terms import CATEGORIES, PHASES

if TYPE_CHECKING:
    from memprop.graph.graph import Graph, Operator, Variable


def check(graph: "Graph") -> None:
    """Raise GraphError unless ``graph`` is well formed: names, order, shapes, categories."""
    check_names(graph)
    for variable in graph.variables:
        _check_variable(variable)
    known = {variable.name for variable in graph.sources}
    for operator in graph.operators:
        _check_operator(graph, operator, known)
        known.update(operator.outputs)
    for name in graph.outputs:
        if name not in known:
            raise GraphError(f"the output {name!r} is computed by no operator")


def check_names(graph: "Graph") -> None:
    """Raise GraphError unless every name in ``graph`` stands for one thing."""
    if len(graph.by_name) != len(graph.variables):
        raise GraphError(f"two variables are named {_repeated(graph.variables)!r}")
    if len(graph.operators_by_name) != len(graph.operators):
        raise GraphError(f"two operators are named {_repeated(graph.operators)!r}")


def _repeated(nodes: "Iterable[Variable | Operator]") -> str:
    names = [node.name for node in nodes]
    return next(name for name in names if names.count(name) > 1)


def _check_variable(variable: "Variable") -> None:
    if variable.category not in CATEGORIES:
        raise GraphError(f"{variable.name} has the unknown category {variable.category!r}")
    for dim in variable.shape:
        if dim != BATCH and not (isinstance(dim, int) and dim > 0):
            raise GraphError(f"{variable.name} has the shape {variable.shape}: {dim!r} is no size")
    if variable.shape.count(BATCH) > 1:
        raise GraphError(f"{variable.name} has the batch size twice in its shape {variable.shape}")


def _check_operator(graph: "Graph", operator: "Operator", known: set[str]) -> None:
    if operator.phase not in PHASES:
        raise GraphError(f"{operator.name} has the unknown phase {operator.phase!r}")
    for name in operator.inputs:
        if name not in known:
            raise GraphError(f"{operator.name} reads {name!r}, which nothing before it computes")
    for name in operator.outputs:
        if name in known:
            raise GraphError(f"{operator.name} writes {name!r} a second time")
    _check_shapes(graph, operator)


def _check_shapes(graph: "Graph", operator: "Operator") -> None:
    """Hold the declared shapes against what the operator's rule infers."""
    operands = tuple(graph.by_name[name].spec for name in operator.inputs)
    made = signature(operator.rule, operands, operator.attributes)
    inferred = made.results + made.scratch
    declared = operator.outputs + operator.workspace
    if len(inferred) != len(declared):
        raise GraphError(f"{operator.name} writes {len(inferred)} variables, not {len(declared)}")
    for name, spec in zip(declared, inferred, strict=True):
        if graph.by_name[name].spec != spec:
            raise GraphError(
                f"{operator.name} writes {name} as {graph.by_name[name].spec}, its rule says {spec}"
            )
