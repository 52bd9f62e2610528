"""Primitives that call a jaxpr on other arrays than their own operands.

A ``shard_map`` runs its body on shards, one on each device of the mesh: its values have the shape
of a shard and count as many times as there are different shards, as an array outside counts whole
however it is sharded. What all devices have alike counts once, if types say so
(``check_vma=True``); else each value of the body counts on every device. A
``custom_linear_solve`` runs the solver that it was given.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from memprop.jax import forms
from memprop.jax.loops import Flatten
from memprop.jax.program import Block, Operand, Scope, Step, Value, present
from memprop.jax.sites import place
from memprop.jax.values import value_of


def shard_map(equation: Any, operands: Sequence[Operand], scope: Scope, flatten: Flatten) -> Block:
    """The body, on all shards, and its results put together."""
    body = forms.program(forms.parameter(equation, "jaxpr"))
    axes = {**scope.axes, **forms.manual_axes(equation)}
    tracked = bool(equation.params.get("check_vma", False))
    devices = prod(forms.manual_axes(equation).values())
    inner = replace(
        scope,
        prefix=f"{scope.prefix}shard_map/",
        axes=axes,
        tracked=tracked,
        runs=None if scope.runs is None else scope.runs * devices,
    )
    block = flatten(body, operands, inner)
    whole: list[Operand] = [
        _whole(variable.aval, f"shard_map.{number}", shards, scope)
        for number, (variable, shards) in enumerate(
            zip(equation.outvars, block.outputs, strict=True)
        )
    ]
    leave = Step(
        operator=f"{scope.prefix}shard_map",
        site=place(equation, scope.site),
        reads=present(block.outputs),
        makes=present(whole),
        mark=scope.mark,
        recomputed=scope.recomputed,
        flops=0,
    )
    return Block([*block.steps, leave], whole)


def _whole(aval: Any, name: str, shards: Operand, scope: Scope) -> Value:
    """The array that shards make up: it lies where they lie, unless it is on every device."""
    found = value_of(aval, name, scope=scope, scratch=scope.loop)
    same = shards is not None and shards.storage.bytes == found.bytes
    return replace(found, base=shards) if same else found


def linear_solve(
    equation: Any, operands: Sequence[Operand], scope: Scope, flatten: Flatten
) -> Block:
    """What solves the system; the products that only its derivatives need are not run."""
    lengths = forms.parameter(equation, "const_lengths")
    first = lengths.matvec + lengths.vecmat
    given = [*operands[first : first + lengths.solve], *operands[sum(lengths) :]]
    solver = forms.program(forms.parameter(equation, "jaxprs").solve)
    return flatten(solver, given, scope)
