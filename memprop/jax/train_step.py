"""The Trace of a whole training step, as a user wrote it.

Such a function takes parameters and optimizer state among its arguments and returns new ones. It
is one jaxpr. The names that JAX's transformations leave on equations (``jvp``, ``transpose``) say
which pass an equation belongs to. A value of the backward pass that the update reads is a gradient.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from memprop.errors import InvalidValueError
from memprop.jax import forms
from memprop.jax.arguments import arguments, canonical
from memprop.jax.compiled import figures
from memprop.jax.differentiate import closed, traced
from memprop.jax.flatten import flatten
from memprop.jax.layout import Layout, Timed
from memprop.jax.passes import read_constants
from memprop.jax.program import Block, Scope, Step, Value
from memprop.jax.record import record
from memprop.jax.roles import Place, Roles, replaced, roles
from memprop.jax.step import about_step
from memprop.jax.values import value_of
from memprop.traces.trace import Trace


def simulate_step(
    step: Callable[..., Any],
    *args: Any,
    parameters: Place | Sequence[Place] | None = None,
    optimizer_state: Place | Sequence[Place] | None = None,
    compile: bool = True,  # noqa: A002 - the word that users look for
) -> Trace:
    """The Trace of a training step that is a function of yours, jitted or not; nothing is run.

    >>> @jax.jit  # doctest: +SKIP
    ... def step(params, opt_state, x, y):
    ...     loss, grads = jax.value_and_grad(loss_of)(params, x, y)
    ...     updates, opt_state = optimizer.update(grads, opt_state, params)
    ...     return optax.apply_updates(params, updates), opt_state, loss
    >>> mpj.simulate_step(step, params, opt_state, x, y).peak_by_category()  # doctest: +SKIP

    Arguments are ``parameter`` or ``optimizer_state`` where you say so; all others are ``input``.
    If you do not say, names and types decide: arguments with the name ``params``, ``parameters``
    or ``weights`` are parameters; those with the name ``opt_state`` or ``optimizer_state``, and
    objects of optax, are state. The outermost name decides.

    Equations before the first one of a backward pass are of the phase ``forward``; those after the
    last one are of the phase ``update``. Values of the backward pass that the update or the caller
    receives are ``parameter_gradient``. Results with the structure and shapes of parameters or
    state have their category. Everything else that the update computes is ``workspace``. Arguments
    that ``jax.jit`` donates are freed after their last read; all others stay.

    Args:
        step: does one whole step and returns what is new.
        args: pytrees of arrays or of ``jax.ShapeDtypeStruct``, of which nothing is allocated.
        parameters: the parameters: the position of an argument, its name, the name of a part as the
            trace has it ("state.params"), or several of these.
        optimizer_state: the state of the optimizer, in the same way.
        compile: also compile the step and put the compiler's figures into ``trace.about``, as
            ``compiled_temp_bytes`` and so on (see :func:`memprop.jax.compiled_memory`).

    Raises:
        InvalidTypeError: an argument is no array, or a place neither name nor position.
        InvalidValueError: there is no such place, nothing is a parameter, ``step`` cannot be
            traced, computes gradients for nothing, holds something that memprop does not know how
            to count, or is not compiled.
    """
    args = canonical(args)
    found = arguments(step, args, ())
    given = roles(found, args, parameters, optimizer_state)
    layout = _layout(step, args, given)
    compiled = {}
    if compile:
        compiled = figures(step if hasattr(step, "lower") else jax.jit(step), args)
    return record(layout).trace(about_step(step, compiled))


@dataclass(frozen=True, kw_only=True)
class _Whole:
    """A step as one block.

    Attributes:
        leaves: the leaves of the arguments.
        donated: those of them that are given up.
        constants: captured arrays that are read.
        block: its outputs are the leaves of the result.
        result: what the step returns, with shapes for leaves.
    """

    leaves: tuple[Value, ...]
    donated: frozenset[Value]
    constants: tuple[Value, ...]
    block: Block
    result: Any


def _layout(step: Callable[..., Any], args: Sequence[Any], given: Roles) -> Layout:
    whole = _whole(step, args, given)
    timed = _timed(whole.block.steps)
    old = _old(whole, args, given, timed)
    category = dict(zip(whole.leaves, given.categories, strict=True))
    gradients = _gradients(whole, timed, old, category)
    return Layout(
        given={**category, **dict.fromkeys(whole.constants, "input")},
        steps=tuple(timed),
        outlive=tuple(whole.block.outputs),
        donated=whole.donated,
        categories={
            **dict.fromkeys(gradients, "parameter_gradient"),
            **{new: category[before] for new, before in old.items()},
        },
        names={new: f"new {before.name}" for new, before in old.items()},
        recomputed=frozenset(
            value
            for phase, each in timed
            if phase == "backward" and each.recomputed
            for value in each.makes
        ),
    )


def _whole(step: Callable[..., Any], args: Sequence[Any], given: Roles) -> _Whole:
    made, result = traced(jax.make_jaxpr(step, return_shape=True), args)
    found = closed(made)
    program, _ = forms.pruned(found, [True] * len(found.out_avals), keep_inputs=True)
    if forms.has_backward(found.jaxpr) and not forms.has_backward(program.jaxpr):
        raise InvalidValueError(
            "step computes gradients, but returns nothing that is made of them: return the new "
            "parameters and the new state (an object that is changed in place, as a module of "
            "flax.nnx, is taken apart with nnx.split, and its new state returned)"
        )
    leaves = tuple(map(value_of, program.in_avals, given.names))
    scope = Scope()
    block = flatten(program, leaves, scope)
    return _Whole(
        leaves=leaves,
        donated=frozenset(_donated(program, leaves)),
        constants=tuple(read_constants(scope, block.steps)),
        block=block,
        result=result,
    )


def _donated(program: forms.Program, leaves: Sequence[Value]) -> Iterable[Value]:
    """The arguments that calls at the top give up; inside of a jit nothing is donated."""
    numbers = {variable: number for number, variable in enumerate(program.jaxpr.invars)}
    for equation in program.jaxpr.eqns:
        for atom, given_up in zip(equation.invars, forms.donated(equation), strict=False):
            if given_up and not forms.is_literal(atom) and atom in numbers:
                yield leaves[numbers[atom]]


def _timed(steps: Sequence[Step]) -> list[Timed]:
    """The steps with their phases: those without a mark go by the marks around them."""
    marks = [step.mark if step.mark in ("forward", "backward") else "" for step in steps]
    after = list(_next_marks(marks))
    before, timed = "", list[Timed]()
    for step, mark, following in zip(steps, marks, after, strict=True):
        before = mark or before
        timed.append(Timed(mark or _between(before, following), step))
    return timed


def _next_marks(marks: Sequence[str]) -> Iterable[str]:
    following, found = "", list[str]()
    for mark in reversed(marks):
        found.append(following)
        following = mark or following
    return reversed(found)


def _between(before: str, following: str) -> str:
    if before != "backward":
        return "forward"
    return "backward" if following == "backward" else "update"


def _old(
    whole: _Whole, args: Sequence[Any], given: Roles, timed: Sequence[Timed]
) -> dict[Value, Value]:
    """For each new parameter, and each new part of the state, the argument that it replaces."""
    renewing = {
        value
        for phase, step in timed
        if phase == "update" or step.mark == "step"
        for value in step.makes
    }
    outputs = whole.block.outputs
    new_or_as_given = renewing | set(whole.leaves)
    found = replaced(args, whole.result, given, lambda n: outputs[n] in new_or_as_given)
    pairs = {outputs[new]: whole.leaves[before] for new, before in found.items()}
    return {new: before for new, before in pairs.items() if new is not None and new in renewing}


def _gradients(
    whole: _Whole,
    timed: Sequence[Timed],
    old: Mapping[Value, Value],
    category: Mapping[Value, str],
) -> list[Value]:
    """What the backward pass leaves to the update or to the caller.

    What a loop over whole steps carries in the shape of a parameter is a sum of gradients.
    """
    shapes = {value.shape for value, each in category.items() if each == "parameter"}
    wanted = {value for phase, step in timed if phase == "update" for value in step.reads}
    wanted.update(value for value in whole.block.outputs if value is not None)
    return [
        value
        for phase, step in timed
        for value in step.makes
        if value in wanted and value not in old and not value.scratch
        if (phase == "backward" and not step.recomputed)
        or (step.mark == "step" and value.shape in shapes)
    ]
