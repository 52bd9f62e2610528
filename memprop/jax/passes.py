"""Forward and backward as flat steps that share their values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import compress

from jax.extend.core import ClosedJaxpr
from jax.interpreters.partial_eval import dce_jaxpr

from memprop.jax.differentiate import Forward
from memprop.jax.flatten import flatten
from memprop.jax.owned import owned
from memprop.jax.program import Block, Scope, Step, Value
from memprop.jax.values import value_of


@dataclass(frozen=True, kw_only=True)
class Passes:
    """A whole step, laid out flat.

    Attributes:
        parameters: the arguments to differentiate by, in order.
        inputs: all other arguments, and the arrays captured by closure.
        forward: its outputs are the loss and aux.
        backward: its outputs are the gradients, one for each parameter, in storages of their own.
        recomputed: the values of the backward pass that do not depend on the loss's cotangent.
    """

    parameters: tuple[Value, ...]
    inputs: tuple[Value, ...]
    forward: Block
    backward: Block
    recomputed: frozenset[Value]


def passes(forward: Forward, backward: ClosedJaxpr) -> Passes:
    """Lay out both jaxprs, without the equations that nobody needs."""
    needed, used = dce_jaxpr(backward.jaxpr, [True] * len(backward.out_avals))
    outputs = [True] * forward.outputs + used[:-1]
    kept, _ = dce_jaxpr(forward.jaxpr.jaxpr, outputs, instantiate=True)
    leaves, scope = [value_of(a.aval, a.name) for a in forward.arguments], Scope()
    there = flatten(ClosedJaxpr(kept, forward.jaxpr.consts), leaves, scope)
    cotangent = value_of(backward.in_avals[-1], "cotangent")
    saved = [*there.outputs[forward.outputs :], *([cotangent] if used[-1] else [])]
    back = flatten(ClosedJaxpr(needed, backward.consts), saved, scope)
    chosen = [a.differentiated for a in forward.arguments]
    others = compress(leaves, (not yes for yes in chosen))
    return Passes(
        parameters=tuple(compress(leaves, chosen)),
        inputs=(*others, *_read(scope.constants.values(), [*there.steps, *back.steps])),
        forward=Block(there.steps, there.outputs[: forward.outputs]),
        backward=owned(_without(cotangent, back), backward.out_avals),
        recomputed=_independent(back.steps, cotangent),
    )


def _read(constants: Iterable[Value], steps: Sequence[Step]) -> list[Value]:
    """The constants that a step reads: the others went with what nobody needs."""
    read = {value for step in steps for value in step.reads}
    return [value for value in constants if value in read]


def _independent(steps: Sequence[Step], cotangent: Value) -> frozenset[Value]:
    """What does not depend on the cotangent.

    Values made of nothing are zeros to which gradients are added, and no part of it.
    """
    dependent, found = {cotangent}, set[Value]()
    for step in steps:
        operands = (*step.reads, *step.keeps)
        if not operands or not dependent.isdisjoint(operands):
            dependent.update(step.makes)
        else:
            found.update(step.makes)
    return frozenset(found)


def _without(cotangent: Value, block: Block) -> Block:
    """The unit cotangent of the loss is a literal in ``value_and_grad``: it takes nothing."""

    def kept(values: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(value for value in values if value is not cotangent)

    return Block(
        [replace(step, reads=kept(step.reads), keeps=kept(step.keeps)) for step in block.steps],
        [None if value is cotangent else value for value in block.outputs],
    )
