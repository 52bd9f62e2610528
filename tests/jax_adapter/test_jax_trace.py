"""The trace of a step: its bytes by formulas, by brute force, and beside the compiler's figures."""

import math

import pytest
from jax_cases import CASES

VIEWS = {"reshape", "squeeze", "name", "optimization_barrier"}


def size(aval):
    return math.prod(aval.shape) * aval.dtype.itemsize


def traced(mpj, case, jax, **options):
    fun, args = case(jax)
    return mpj.trace(fun, *args, compile=False, **options)


def flat_step(jax, fun, args):
    """The jaxpr of value_and_grad without calls of jitted functions, as jax.jit prunes it."""
    from jax.interpreters.partial_eval import dce_jaxpr

    with jax.disable_jit():
        closed = jax.make_jaxpr(jax.value_and_grad(fun))(*args)
    jaxpr, _ = dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    return jaxpr


def brute_force_live(jaxpr):
    """Live bytes during each equation, from the definition: a buffer lives from the equation that
    makes its first value to the last equation that reads any value in it, or to the end."""
    arguments = [*jaxpr.invars, *jaxpr.constvars]
    buffer = {variable: {variable} for variable in arguments}
    for equation in jaxpr.eqns:
        same = len(equation.outvars) == 1 and size(equation.outvars[0].aval) == sum(
            size(atom.aval) for atom in equation.invars
        )
        views = equation.primitive.name in VIEWS
        views |= equation.primitive.name == "broadcast_in_dim" and same
        for variable in equation.outvars:
            if views and not hasattr(equation.invars[0], "val"):
                buffer[variable] = buffer[equation.invars[0]]
                buffer[variable].add(variable)
            else:
                buffer[variable] = {variable}
    held = {id(buffer[v]) for v in [*arguments, *jaxpr.outvars] if v in buffer}
    times = {}
    for number, equation in enumerate(jaxpr.eqns):
        for atom in [*equation.invars, *equation.outvars]:
            if not hasattr(atom, "val"):
                times.setdefault(id(buffer[atom]), [number, number])[1] = number
    first = {id(buffer[v]): -1 for v in arguments}
    sizes = {id(group): max(size(v.aval) for v in group) for group in buffer.values()}

    def lives(group, number):
        born, dies = times.get(group, [-1, -1])
        born = first.get(group, born)
        return born <= number and (number <= dies or group in held)

    return [
        sum(size for group, size in sizes.items() if lives(group, number))
        for number in range(len(jaxpr.eqns))
    ]


def live_during(trace):
    """The largest live bytes during each operator."""
    frame = trace.timeline()
    frame = frame[frame["phase"] != "setup"]
    return frame.groupby("operator", sort=False)["live_bytes"].max().tolist()


FLAT = ["mlp", "unrolled", "mapped", "jitted", "attention"]


@pytest.mark.parametrize("case", FLAT)
def test_live_bytes_are_those_of_brute_force(case, jax, mpj):
    fun, args = CASES[case](jax)
    jaxpr = flat_step(jax, fun, args)
    assert live_during(mpj.trace(fun, *args, compile=False)) == brute_force_live(jaxpr)
