"""Forward, backward and update as flat steps that share their values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

from memprop.jax.differentiate import Forward
from memprop.jax.flatten import flatten
from memprop.jax.forms import Program, pruned
from memprop.jax.layout import Layout, Timed
from memprop.jax.optimizer import Update
from memprop.jax.owned import owned
from memprop.jax.program import Block, Operand, Scope, Step, Value
from memprop.jax.values import value_of


@dataclass(frozen=True, kw_only=True)
class _Passes:
    """Forward and backward, joined by the residuals.

    Attributes:
        leaves: the leaves of the arguments.
        scope: the captured arrays that both found.
        forward: its outputs are the loss and aux.
        backward: its outputs are the gradients, ``None`` for those that nobody needs.
        recomputed: the values of the backward pass that do not depend on the loss's cotangent.
    """

    leaves: tuple[Value, ...]
    scope: Scope
    forward: Block
    backward: Block
    recomputed: frozenset[Value]


def gradient_step(forward: Forward, backward: Program) -> Layout:
    """The step of ``value_and_grad``: gradients come out, each in a storage of its own."""
    found = _passes(forward, backward, [True] * len(backward.out_avals))
    parameters = compress(found.leaves, (a.differentiated for a in forward.arguments))
    back = owned(found.backward, backward.out_avals)
    gradients = {
        gradient: f"gradient of {parameter.name}"
        for gradient, parameter in zip(back.outputs, parameters, strict=True)
        if gradient is not None
    }
    return Layout(
        given=_given(forward, found, {}),
        steps=(*_timed("forward", found.forward), *_timed("backward", back)),
        outlive=(*found.forward.outputs, *back.outputs),
        categories=dict.fromkeys(gradients, "parameter_gradient"),
        names={**_loss(found), **gradients},
        recomputed=found.recomputed,
    )


def update_step(forward: Forward, backward: Program, update: Update, *, donate: bool) -> Layout:
    """The step with an optimizer's update: new parameters and new state come out.

    What neither they nor loss and aux need is left out, gradients included.
    """
    needed, used = pruned(update.program, [True] * len(update.program.out_avals))
    count = len(backward.out_avals)
    found = _passes(forward, backward, used[:count])
    parameters = list(compress(found.leaves, (a.differentiated for a in forward.arguments)))
    state = [value_of(leaf.aval, leaf.name) for leaf in update.state]
    operands = [*found.backward.outputs, *state, *parameters, found.forward.outputs[0]]
    after = flatten(needed, list(compress(operands, used)), found.scope)
    made = {value for step in found.backward.steps for value in step.makes}
    gradients = {
        gradient: f"gradient of {parameter.name}"
        for gradient, parameter in zip(found.backward.outputs, parameters, strict=True)
        if gradient in made
    }
    new = _renewed([*parameters, *state], after)
    kept = set(parameters)
    return Layout(
        given=_given(forward, found, dict.fromkeys(state, "optimizer_state"), after),
        steps=(
            *_timed("forward", found.forward),
            *_timed("backward", found.backward),
            *_timed("update", after),
        ),
        outlive=(*found.forward.outputs, *after.outputs),
        donated=frozenset([*parameters, *state]) if donate else frozenset(),
        categories={
            **dict.fromkeys(gradients, "parameter_gradient"),
            **{v: "parameter" if old in kept else "optimizer_state" for v, old in new.items()},
        },
        names={
            **_loss(found),
            **gradients,
            **{value: f"new {old.name}" for value, old in new.items()},
        },
        recomputed=found.recomputed,
    )


def _renewed(old: Sequence[Value], after: Block) -> dict[Value, Value]:
    """For what the update makes of a parameter or of state: what it replaces."""
    made = {value for step in after.steps for value in step.makes}
    pairs = zip(after.outputs, old, strict=True)
    return {new: before for new, before in pairs if new is not None and new in made}


def _passes(forward: Forward, backward: Program, wanted: Sequence[bool]) -> _Passes:
    """Lay out both jaxprs, without the equations that nobody needs."""
    needed, used = pruned(backward, wanted)
    outputs = [True] * forward.outputs + used[:-1]
    kept, _ = pruned(forward.program, outputs, keep_inputs=True)
    leaves, scope = tuple(value_of(a.aval, a.name) for a in forward.arguments), Scope()
    there = flatten(kept, leaves, scope)
    cotangent = replace(value_of(backward.in_avals[-1], "cotangent"), literal=True)
    saved = [*there.outputs[forward.outputs :], *([cotangent] if used[-1] else [])]
    back = flatten(needed, saved, scope)
    gradients = iter(back.outputs)
    back = Block(back.steps, [next(gradients) if each else None for each in wanted])
    return _Passes(
        leaves=leaves,
        scope=scope,
        forward=Block(there.steps, there.outputs[: forward.outputs]),
        backward=_without(cotangent, back),
        recomputed=_independent(back.steps, cotangent),
    )


def _given(
    forward: Forward, found: _Passes, state: Mapping[Value, str], after: Block | None = None
) -> dict[Value, str]:
    """Parameters, then state, then all other arguments and the captured arrays that are read."""
    chosen = [a.differentiated for a in forward.arguments]
    steps = [*found.forward.steps, *found.backward.steps, *(after.steps if after else ())]
    others = compress(found.leaves, (not yes for yes in chosen))
    return {
        **dict.fromkeys(compress(found.leaves, chosen), "parameter"),
        **state,
        **dict.fromkeys(others, "input"),
        **dict.fromkeys(read_constants(found.scope, steps), "input"),
    }


def read_constants(scope: Scope, steps: Iterable[Step]) -> list[Value]:
    """The constants that a step reads: the others went with what nobody needs."""
    read = {value for step in steps for value in step.reads}
    return [value for value in scope.constants.values() if value in read]


def _timed(phase: str, block: Block) -> list[Timed]:
    return [Timed(phase, step) for step in block.steps]


def _loss(found: _Passes) -> dict[Value, str]:
    loss = found.forward.outputs[0]
    return {} if loss is None else {loss: "loss"}


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

    outputs: list[Operand] = [None if value is cotangent else value for value in block.outputs]
    steps = [replace(step, reads=kept(step.reads), keeps=kept(step.keeps)) for step in block.steps]
    return Block(steps, outputs)
