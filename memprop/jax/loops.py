"""Scans, loops and branches, laid out flat.

The body of a loop appears once in the steps, whatever its length: each iteration uses the same
buffers. They are scratch; the loop's operands and its stacked and carried results are not. The
carry lives in the buffer of the result. Of several branches the one with the largest peak is
taken; of equal ones the longest.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from memprop.jax import forms
from memprop.jax.liveness import peak
from memprop.jax.owned import owned
from memprop.jax.program import Block, Operand, Scope, Step, present
from memprop.jax.sites import place
from memprop.jax.values import value_of

Flatten = Callable[[forms.Program, Sequence[Operand], Scope], Block]
"""What lays out a jaxpr; the one that opens loops is handed down to them."""


def scan(equation: Any, operands: Sequence[Operand], scope: Scope, flatten: Flatten) -> Block:
    """The results, one slice of each scanned operand, the body once."""
    sizes = forms.scan_sizes(equation)
    body = forms.program(forms.parameter(equation, "jaxpr"))
    inner = _inside(equation, scope, equation.params.get("length"))
    results = _results(equation, scope)
    slices: list[Operand] = [
        value_of(aval, "slice", scope=inner, scratch=inner.loop)
        for aval in body.in_avals[sizes.consts + sizes.carry :]
    ]
    enter = _step(
        equation, scope, reads=operands[sizes.consts :], makes=[*results, *slices], keeps=operands
    )
    given = [*operands[: sizes.consts], *results[: sizes.carry], *slices]
    block = flatten(body, given, inner)
    leave = _step(equation, scope, reads=block.outputs, keeps=[*operands, *results])
    return Block([enter, *block.steps, leave], results)


def while_loop(equation: Any, operands: Sequence[Operand], scope: Scope, flatten: Flatten) -> Block:
    """The results, the condition once, the body once."""
    condition, body = (
        forms.program(forms.parameter(equation, f"{part}_jaxpr")) for part in ("cond", "body")
    )
    first = forms.parameter(equation, "cond_nconsts")
    second = first + forms.parameter(equation, "body_nconsts")
    results = _results(equation, scope)
    inner = _inside(equation, scope, None)
    enter = _step(equation, scope, reads=operands[second:], makes=results, keeps=operands)
    asked = flatten(condition, [*operands[:first], *results], inner)
    done = flatten(body, [*operands[first:second], *results], inner)
    decide = _step(equation, scope, reads=asked.outputs)
    leave = _step(equation, scope, reads=done.outputs, keeps=[*operands, *results])
    return Block([enter, *asked.steps, decide, *done.steps, leave], results)


def cond(equation: Any, operands: Sequence[Operand], scope: Scope, flatten: Flatten) -> Block:
    """The branch that needs most; what only the others read lives until the choice is made."""
    inner = replace(scope, prefix=f"{scope.prefix}cond/")
    branches = [
        owned(flatten(branch, operands[1:], inner), branch.out_avals, inner)
        for branch in map(forms.program, forms.parameter(equation, "branches"))
    ]
    largest = max(branches, key=lambda block: (peak(block), len(block.steps)))
    choose = _step(equation, scope, reads=operands[:1], keeps=operands)
    return Block([choose, *largest.steps], largest.outputs)


def _inside(equation: Any, scope: Scope, times: int | None) -> Scope:
    """The scope of a body that is run so often.

    One that holds both passes is laid out as one step, and its values are what they are in a step.
    """
    prefix = f"{scope.prefix}{equation.primitive.name}/"
    if _is_of_steps(equation, scope):
        return replace(scope, prefix=prefix)
    runs = None if times is None or scope.runs is None else scope.runs * times
    return replace(scope, prefix=prefix, loop=True, runs=runs)


def _is_of_steps(equation: Any, scope: Scope) -> bool:
    return not scope.mark and any(map(forms.has_backward, forms.inside(equation)))


def _results(equation: Any, scope: Scope) -> list[Operand]:
    name = equation.primitive.name
    return [
        value_of(variable.aval, f"{name}.{number}", scope=scope, scratch=scope.loop)
        for number, variable in enumerate(equation.outvars)
    ]


def _step(
    equation: Any,
    scope: Scope,
    *,
    reads: Sequence[Operand],
    makes: Sequence[Operand] = (),
    keeps: Sequence[Operand] = (),
) -> Step:
    return Step(
        operator=scope.prefix + equation.primitive.name,
        site=place(equation, scope.site),
        reads=present(reads),
        makes=present(makes),
        keeps=present(keeps),
        mark="step" if _is_of_steps(equation, scope) else scope.mark,
        recomputed=scope.recomputed,
        flops=0,
    )
