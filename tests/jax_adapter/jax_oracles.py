"""Live bytes by brute force, from the definition, on a jaxpr without calls, loops and branches."""

import math

VIEWS = {"reshape", "squeeze", "name", "optimization_barrier", "freeze"}
CALLS = {"jit", "pjit", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call"}
MARK = "reduce_precision"
"""What jax.checkpoint puts on the values that it saves: the same value, at the same precision."""


def size(aval):
    return math.prod(aval.shape) * aval.dtype.itemsize


def evaluate(jaxpr, consts, *args):
    """Run a jaxpr equation by equation, and go into calls: traced, it comes out without them."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom):
        return atom.val if hasattr(atom, "val") else values[atom]

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        if equation.primitive.name == MARK:
            results = operands
        elif equation.primitive.name in CALLS:
            inner = equation.params.get("jaxpr") or equation.params["call_jaxpr"]
            closed = hasattr(inner, "consts")
            parts = (inner.jaxpr, inner.consts) if closed else (inner, ())
            results = evaluate(*parts, *operands)
        else:
            results = equation.primitive.bind(*operands, **equation.params)
            results = results if equation.primitive.multiple_results else [results]
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def flat_jaxpr(jax, step, args):
    """The jaxpr of ``step`` without calls, pruned as jax.jit does it."""
    from jax.interpreters.partial_eval import dce_jaxpr

    closed = jax.make_jaxpr(step)(*args)
    leaves = jax.tree.leaves(args)
    flat = jax.make_jaxpr(lambda *given: evaluate(closed.jaxpr, closed.consts, *given))(*leaves)
    return dce_jaxpr(flat.jaxpr, [True] * len(flat.jaxpr.outvars), instantiate=True)[0]


def is_overwritten(equation, variable):
    """A write into a mutable array returns what was there; if nobody reads that, it is no copy."""
    return equation.primitive.name == "swap" and type(variable).__name__ == "DropVar"


def brute_force_live(jaxpr, donated=()):
    """Live bytes during each equation, from the definition: a buffer lives from the equation that
    makes its first value to the last equation that reads any value in it, or to the end. Arguments
    are there from the beginning, and to the end but for those in ``donated``, by their numbers."""
    arguments = [*jaxpr.invars, *jaxpr.constvars]
    buffer = {variable: {variable} for variable in arguments}
    for equation in jaxpr.eqns:
        same = len(equation.outvars) == 1 and size(equation.outvars[0].aval) == sum(
            size(atom.aval) for atom in equation.invars
        )
        views = equation.primitive.name in VIEWS
        views |= equation.primitive.name == "broadcast_in_dim" and same
        for variable in equation.outvars:
            if is_overwritten(equation, variable):
                continue
            if views and not hasattr(equation.invars[0], "val"):
                buffer[variable] = buffer[equation.invars[0]]
                buffer[variable].add(variable)
            else:
                buffer[variable] = {variable}
    given_up = {jaxpr.invars[number] for number in donated}
    staying = [v for v in arguments if v not in given_up]
    outcome = [v for v in jaxpr.outvars if not hasattr(v, "val")]
    held = {id(buffer[v]) for v in [*staying, *outcome]}
    times = {}
    for number, equation in enumerate(jaxpr.eqns):
        for atom in [*equation.invars, *equation.outvars]:
            if not hasattr(atom, "val") and atom in buffer:
                times.setdefault(id(buffer[atom]), [number, number])[1] = number
    first = {id(buffer[v]): -1 for v in arguments}
    sizes = {id(group): max(size(v.aval) for v in group) for group in buffer.values()}

    def lives(group, number):
        born, dies = times.get(group, [-1, len(jaxpr.eqns)])
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
