"""Gradient accumulation: the forward pass over a batch taken micro-batch by micro-batch.

The loss over a batch is the mean of the losses over m micro-batches of equal size. So the gradients
of the micro-batches add up to those of the batch, up to rounding, and only the activations of one
micro-batch at a time have to be kept. In the graph every micro-batch has operators and variables of
its own, named ``linear_1@2`` and ``z1@2``; the parameters are shared. The batch size that stands in
its shapes is that of a micro-batch.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from memprop.errors import GraphError
from memprop.graph.apply import apply_rule
from memprop.graph.nodes import Operator, Variable

if TYPE_CHECKING:
    from memprop.graph.graph import Graph

_MARK: Final = "@"

MICRO_BATCH: Final = "micro_batch"
"""The attribute that says which micro-batch of the batch an operator works on, counted from 1."""


def in_micro_batch(name: str, number: int) -> str:
    """What ``name`` is called in micro-batch ``number``, counted from 1."""
    return f"{name}{_MARK}{number}"


def micro_batch_of(name: str) -> tuple[str, int | None]:
    """The name without its micro-batch, and that; ``None`` for what all micro-batches share."""
    base, mark, number = name.partition(_MARK)
    return base, int(number) if mark else None


def sliced(forward: "Graph", count: int) -> "Graph":
    """``forward`` taken in ``count`` micro-batches, its loss L the mean of theirs.

    Raises:
        GraphError: ``forward`` has no loss named L to take the mean of.
    """
    if "L" not in forward.by_name:
        raise GraphError("only a graph with a loss L can be taken in micro-batches")
    own = _of_one_slice(forward)
    numbers = range(count, 0, -1)  # autodiff goes backward: it adds up from micro-batch 1 on
    variables = [v for v in forward.variables if v.name not in own]
    variables += [replace(v, name=in_micro_batch(v.name, i)) for i in numbers for v in own.values()]
    operators = [_copy(op, own, i) for i in numbers for op in forward.operators if _is_own(op, own)]
    losses = [v for v in variables if micro_batch_of(v.name)[0] == "L"][::-1]
    mean, made = apply_rule(
        "mean_loss",
        operator="mean",
        inputs=losses,
        outputs=[("L", "activation")],
        phase="loss",
        micro_batches=count,
    )
    shared = [op for op in forward.operators if not _is_own(op, own)]
    return replace(
        forward,
        variables=(*variables, *made),
        operators=(*operators, mean, *shared),
    )


def _of_one_slice(forward: "Graph") -> dict[str, Variable]:
    """The variables of which every micro-batch has its own: what L is computed by, and L."""
    own = {v.name for v in forward.sources if v.category == "input"}
    for operator in forward.operators:
        if not own.isdisjoint(operator.inputs) and "L" not in operator.inputs:
            own.update(operator.outputs + operator.workspace)
    return {v.name: v for v in forward.variables if v.name in own}


def _is_own(operator: Operator, own: dict[str, Variable]) -> bool:
    return operator.outputs[0] in own


def _copy(operator: Operator, own: dict[str, Variable], number: int) -> Operator:
    def rename(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(in_micro_batch(name, number) if name in own else name for name in names)

    return replace(
        operator,
        name=in_micro_batch(operator.name, number),
        inputs=rename(operator.inputs),
        outputs=rename(operator.outputs),
        workspace=rename(operator.workspace),
        attributes=tuple((n, number if n == MICRO_BATCH else v) for n, v in operator.attributes),
    )
