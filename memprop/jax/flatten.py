"""From a jaxpr to flat steps: calls are inlined, loops laid out once, views found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from memprop.jax import forms, loops, opened, views
from memprop.jax.flops import flops
from memprop.jax.forms import Program
from memprop.jax.program import Block, Operand, Scope, Step, Value, present
from memprop.jax.sites import is_library, place
from memprop.jax.values import value_of

_SPECIAL: Final[Mapping[str, Callable[..., Block]]] = MappingProxyType(
    {
        "scan": loops.scan,
        "while": loops.while_loop,
        "cond": loops.cond,
        "shard_map": opened.shard_map,
        "custom_linear_solve": opened.linear_solve,
    }
)


def flatten(program: Program, operands: Sequence[Operand], scope: Scope) -> Block:
    """The steps of a jaxpr.

    Args:
        program: the jaxpr and the arrays that it captured.
        operands: the values of its arguments.
        scope: where it is called.

    Raises:
        InvalidValueError: something in it is in no form that memprop knows.
    """
    jaxpr = program.jaxpr
    environment: dict[Any, Operand] = dict(zip(jaxpr.invars, operands, strict=True))
    for variable, constant in zip(jaxpr.constvars, program.consts, strict=True):
        environment[variable] = _captured(constant, variable.aval, scope)
    steps: list[Step] = []
    for equation in jaxpr.eqns:
        block = _open(equation, _look_up(environment, equation.invars), _within(equation, scope))
        steps += block.steps
        environment.update(zip(equation.outvars, block.outputs, strict=True))
    return Block(steps, _look_up(environment, jaxpr.outvars))


def _look_up(environment: Mapping[Any, Operand], atoms: Sequence[Any]) -> list[Operand]:
    return [None if forms.is_literal(atom) else environment[atom] for atom in atoms]


def _captured(constant: Any, aval: Any, scope: Scope) -> Value:
    """The value of a captured array, the same in every jaxpr that captured it."""
    return scope.constants.setdefault(id(constant), value_of(aval, "constant"))


def _within(equation: Any, scope: Scope) -> Scope:
    """The scope with what the equation says of its pass; what is said around it comes first."""
    return replace(
        scope,
        mark=scope.mark or forms.marked(equation),
        recomputed=scope.recomputed or forms.is_recomputed(equation),
    )


def _open(equation: Any, operands: list[Operand], scope: Scope) -> Block:
    special = _SPECIAL.get(equation.primitive.name)
    if special is not None:
        return special(equation, operands, scope, flatten)
    called = forms.called(equation)
    if called is not None:
        line = (scope.site or place(equation, "")) if is_library(called.jaxpr) else ""
        return flatten(called, operands, replace(scope, site=line))
    if views.is_mark(equation):
        return Block([], operands)
    if not forms.is_plain(equation):
        raise forms.unknown(equation, "it runs a program, and memprop does not know how")
    return _plain(equation, operands, scope)


def _plain(equation: Any, operands: list[Operand], scope: Scope) -> Block:
    primitive = equation.primitive.name
    name = equation.params.get("name", primitive) if primitive == "name" else primitive
    made: list[Operand] = [
        value_of(
            variable.aval,
            f"{name}.{number}" if len(equation.outvars) > 1 else name,
            scope=scope,
            scratch=scope.loop,
            base=views.base(equation, operands, number),
        )
        if forms.is_made(equation, variable)
        else None
        for number, variable in enumerate(equation.outvars)
    ]
    step = Step(
        operator=scope.prefix + primitive,
        site=place(equation, scope.site),
        reads=present(operands),
        makes=present(made),
        mark=scope.mark,
        recomputed=scope.recomputed,
        flops=_flops_of_all_runs(equation, scope),
    )
    return Block([step], made)


def _flops_of_all_runs(equation: Any, scope: Scope) -> int | None:
    once = flops(equation)
    return None if once is None or scope.runs is None else once * scope.runs
