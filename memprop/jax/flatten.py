"""From a jaxpr to flat steps: calls are opened, loops laid out once, views told from copies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from jax.extend.core import ClosedJaxpr, Literal

from memprop.jax import loops, views
from memprop.jax.program import Block, Operand, Scope, Step, Value, present
from memprop.jax.sites import is_library, place
from memprop.jax.values import value_of

CALLS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "jit": "jaxpr",
        "pjit": "jaxpr",
        "closed_call": "call_jaxpr",
        "core_call": "call_jaxpr",
        "custom_jvp_call": "call_jaxpr",
        "custom_vjp_call": "call_jaxpr",
        "custom_vjp_call_jaxpr": "fun_jaxpr",
        "remat2": "jaxpr",
        "checkpoint": "jaxpr",
    }
)
"""Primitives that do nothing but call a jaxpr, and the parameter that holds it; some have other
names in older versions of JAX."""

_CONTROL: Final[Mapping[str, Callable[..., Block]]] = MappingProxyType(
    {"scan": loops.scan, "while": loops.while_loop, "cond": loops.cond}
)


def flatten(closed: ClosedJaxpr, operands: Sequence[Operand], scope: Scope) -> Block:
    """The steps of a jaxpr.

    Args:
        closed: the jaxpr and the arrays that it captured.
        operands: what it is called with.
        scope: where it is called.
    """
    jaxpr = closed.jaxpr
    environment: dict[Any, Operand] = dict(zip(jaxpr.invars, operands, strict=True))
    for variable, constant in zip(jaxpr.constvars, closed.consts, strict=True):
        environment[variable] = _captured(constant, variable.aval, scope)
    steps: list[Step] = []
    for equation in jaxpr.eqns:
        block = _open(equation, _look_up(environment, equation.invars), scope)
        steps += block.steps
        environment.update(zip(equation.outvars, block.outputs, strict=True))
    return Block(steps, _look_up(environment, jaxpr.outvars))


def _look_up(environment: Mapping[Any, Operand], atoms: Sequence[Any]) -> list[Operand]:
    return [None if isinstance(atom, Literal) else environment[atom] for atom in atoms]


def _captured(constant: Any, aval: Any, scope: Scope) -> Value:
    """One value for one array, however many jaxprs captured it."""
    return scope.constants.setdefault(id(constant), value_of(aval, "constant"))


def _open(equation: Any, operands: list[Operand], scope: Scope) -> Block:
    name = equation.primitive.name
    if name in CALLS:
        called = _closed(equation.params[CALLS[name]])
        line = (scope.site or place(equation, "")) if is_library(called.jaxpr) else ""
        return flatten(called, operands, replace(scope, site=line))
    if name in _CONTROL:
        return _CONTROL[name](equation, operands, scope, flatten)
    if views.is_mark(equation):
        return Block([], operands)
    return _plain(equation, operands, scope)


def _closed(jaxpr: Any) -> ClosedJaxpr:
    return jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, ())


def _plain(equation: Any, operands: list[Operand], scope: Scope) -> Block:
    primitive = equation.primitive.name
    name = equation.params["name"] if primitive == "name" else primitive
    made: list[Operand] = [
        value_of(
            variable.aval,
            f"{name}.{number}" if len(equation.outvars) > 1 else name,
            scratch=scope.loop,
            base=views.base(equation, operands, number),
        )
        for number, variable in enumerate(equation.outvars)
    ]
    step = Step(
        operator=scope.prefix + primitive,
        site=place(equation, scope.site),
        reads=present(operands),
        makes=present(made),
    )
    return Block([step], made)
