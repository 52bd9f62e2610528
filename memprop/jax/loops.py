"""Scans, loops and branches, laid out flat.

The body of a loop stands once in the steps, whatever its length: its buffers are used again by each
iteration. They are scratch, beside what the loop reads and the stacked and carried results. The
carry lives in the buffer of the result. Of branches the one whose peak is largest is taken, of
equal ones the longest.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from jax.extend.core import ClosedJaxpr

from memprop.jax.liveness import peak
from memprop.jax.owned import owned
from memprop.jax.program import Block, Operand, Scope, Step, present
from memprop.jax.sites import place
from memprop.jax.values import value_of

Flatten = Callable[[ClosedJaxpr, Sequence[Operand], Scope], Block]
"""What lays out a jaxpr; the one that opens loops is handed down to them."""


def scan(equation: Any, operands: Sequence[Operand], scope: Scope, flatten: Flatten) -> Block:
    """The results, one slice of each scanned operand, the body once."""
    constants = equation.params["num_consts"]
    stacked = constants + equation.params["num_carry"]
    body: ClosedJaxpr = equation.params["jaxpr"]
    results = _results(equation, scope)
    slices: list[Operand] = [
        value_of(aval, "slice", scratch=True) for aval in body.in_avals[stacked:]
    ]
    enter = _step(
        equation, scope, reads=operands[constants:], makes=[*results, *slices], keeps=operands
    )
    carry = results[: equation.params["num_carry"]]
    inside = flatten(body, [*operands[:constants], *carry, *slices], _inside(equation, scope))
    leave = _step(equation, scope, reads=inside.outputs, keeps=[*operands, *results])
    return Block([enter, *inside.steps, leave], results)


def while_loop(equation: Any, operands: Sequence[Operand], scope: Scope, flatten: Flatten) -> Block:
    """The results, the condition once, the body once."""
    first = equation.params["cond_nconsts"]
    second = first + equation.params["body_nconsts"]
    results = _results(equation, scope)
    inner = _inside(equation, scope)
    enter = _step(equation, scope, reads=operands[second:], makes=results, keeps=operands)
    asked = flatten(equation.params["cond_jaxpr"], [*operands[:first], *results], inner)
    body = flatten(equation.params["body_jaxpr"], [*operands[first:second], *results], inner)
    decide = _step(equation, scope, reads=asked.outputs)
    leave = _step(equation, scope, reads=body.outputs, keeps=[*operands, *results])
    return Block([enter, *asked.steps, decide, *body.steps, leave], results)


def cond(equation: Any, operands: Sequence[Operand], scope: Scope, flatten: Flatten) -> Block:
    """The branch that needs most; what only the others read lives until the choice is made."""
    inner = replace(scope, prefix=f"{scope.prefix}cond/")
    branches = [
        owned(flatten(branch, operands[1:], inner), branch.out_avals, inner)
        for branch in equation.params["branches"]
    ]
    largest = max(branches, key=lambda block: (peak(block), len(block.steps)))
    choose = _step(equation, scope, reads=operands[:1], keeps=operands)
    return Block([choose, *largest.steps], largest.outputs)


def _inside(equation: Any, scope: Scope) -> Scope:
    return replace(scope, prefix=f"{scope.prefix}{equation.primitive.name}/", loop=True)


def _results(equation: Any, scope: Scope) -> list[Operand]:
    name = equation.primitive.name
    return [
        value_of(variable.aval, f"{name}.{number}", scratch=scope.loop)
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
    )
