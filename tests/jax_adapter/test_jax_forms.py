"""What JAX's primitives look like, in its versions; what is in no known form is refused."""

import functools
from types import SimpleNamespace

import pytest
from jax_cases import recurrent, scanned, shaped
from jax_oracles import brute_force_live, flat_jaxpr, live_during, size

from memprop.errors import InvalidValueError


def equation_of(jax, name, function, *args):
    """The first equation of a primitive in the jaxpr of a function."""
    jaxpr = jax.make_jaxpr(function)(*args)
    return next(each for each in jaxpr.eqns if each.primitive.name == name)


def as_it_was(equation, **params):
    """An equation with other parameters, as another version of JAX would make it."""
    return SimpleNamespace(
        primitive=equation.primitive,
        params=params,
        invars=equation.invars,
        outvars=equation.outvars,
        source_info=equation.source_info,
    )


def test_the_parts_of_a_scan_are_told_in_every_form(jax):
    from memprop.jax import forms

    fun, (cell, xs) = recurrent(jax)
    equation = equation_of(jax, "scan", fun, cell, xs)
    assert forms.scan_sizes(equation) == (1, 1)
    body = equation.params["jaxpr"]
    numbers = as_it_was(equation, jaxpr=body, num_consts=1, num_carry=1)
    assert forms.scan_sizes(numbers) == (1, 1)
    tree = SimpleNamespace(unpack=lambda: ([None], [None], [None]))
    assert forms.scan_sizes(as_it_was(equation, jaxpr=body, ft_in=tree)) == (1, 1)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"num_consts": 1},
        {"ft_in": SimpleNamespace(unpack=lambda: ([None], [None]))},
        {"ft_in": SimpleNamespace(unpack=lambda: ([None], [None], [None] * 9))},
        {"ft_in": 3},
    ],
)
def test_a_scan_in_no_known_form_is_refused(params, jax):
    from memprop.jax import forms

    fun, args = recurrent(jax)
    equation = equation_of(jax, "scan", fun, *args)
    with pytest.raises(InvalidValueError, match=r"cannot count 'scan' at jax_cases.py:\d+ .*form"):
        forms.scan_sizes(as_it_was(equation, **params))


@pytest.mark.parametrize(
    ("name", "missing"),
    [("while", "cond_jaxpr"), ("cond", "branches"), ("shard_map", "mesh"), ("shard_map", "jaxpr")],
)
def test_a_missing_parameter_is_named(name, missing, jax, mpj, monkeypatch):
    from memprop.jax import forms

    whole = forms.parameter

    def without(equation, asked):
        if asked == missing:
            equation = as_it_was(equation)
        return whole(equation, asked)

    monkeypatch.setattr(forms, "parameter", without)
    with pytest.raises(
        InvalidValueError, match=f"cannot count '{name}'.* no parameter '{missing}'"
    ):
        mpj.simulate(OTHERS[name](jax), shaped(jax, 8, 4), compile=False)


def counting(jax):
    lax = jax.lax
    return lambda w: w.sum() * lax.while_loop(lambda n: n < 9, lambda n: n * 2, 1.0)


def choosing(jax):
    return lambda w: jax.lax.cond(w[0, 0] > 0, jax.numpy.sin, jax.numpy.cos, w).sum()


def sharded(jax, function=None, out=("i",), **options):
    """``function`` on four shards of the rows."""
    from jax.sharding import AbstractMesh, AxisType, PartitionSpec

    mesh = AbstractMesh((4,), ("i",), axis_types=(AxisType.Auto,))
    body = function or (lambda w: jax.numpy.sin(jax.numpy.tanh(w)))
    specs = {"in_specs": PartitionSpec("i"), "out_specs": PartitionSpec(*out)}
    return lambda w: jax.shard_map(body, mesh=mesh, **specs, **options)(w).sum()


OTHERS = {"while": counting, "cond": choosing, "shard_map": sharded}


def test_a_call_is_told_by_what_it_takes_and_returns(jax, mpj):
    """Under a name that memprop never heard of."""
    from memprop.jax import forms

    equation = equation_of(jax, "jit", jax.jit(jax.numpy.sin), shaped(jax, 3))
    unheard = as_it_was(equation, of=equation.params["jaxpr"], name="f")
    unheard.primitive = SimpleNamespace(name="unheard_of")
    assert [each.primitive.name for each in forms.called(unheard).jaxpr.eqns] == ["sin"]


def test_a_program_that_is_no_call_is_refused(jax, mpj):
    from memprop.jax.flatten import flatten
    from memprop.jax.forms import Program
    from memprop.jax.program import Scope

    fun, args = scanned(jax)
    equation = equation_of(jax, "scan", fun, *args)
    unheard = as_it_was(equation, jaxpr=equation.params["jaxpr"])
    unheard.primitive = SimpleNamespace(name="unheard_of")
    unheard.invars = []
    jaxpr = SimpleNamespace(invars=[], constvars=[], eqns=[unheard], outvars=[])
    with pytest.raises(InvalidValueError, match=r"cannot count 'unheard_of' at jax_cases\.py"):
        flatten(Program(jaxpr, ()), [], Scope())


@pytest.mark.parametrize("check_vma", [True, False])
def test_a_shard_map_of_rows_needs_what_it_needs_without(check_vma, jax, mpj):
    """Four shards of two rows, on four devices, are eight rows."""
    w = shaped(jax, 8, 4)
    found = mpj.simulate(sharded(jax, check_vma=check_vma), w, compile=False)
    plain = mpj.simulate(lambda w: jax.numpy.sin(jax.numpy.tanh(w)).sum(), w, compile=False)
    assert found.peak == plain.peak
    assert found.saved_bytes == plain.saved_bytes
    shard = next(v for v in found.variables if v.name == "sin")
    assert (shard.shape, shard.bytes) == ((2, 4), size(w))


def test_what_every_device_has_alike_counts_once_outside(jax, mpj):
    w = shaped(jax, 8, 4)

    def added(w):
        return jax.lax.psum(jax.numpy.sin(w), "i")

    found = mpj.simulate(sharded(jax, added, out=()), w, compile=False)
    sums = [v for v in found.variables if v.shape == (2, 4) and v.name.startswith("shard_map.")]
    assert [v.bytes for v in sums] == [4 * 2 * 4]


def test_solving_a_system_counts_its_solver(jax, mpj):
    solve = jax.numpy.linalg.solve
    a, b = shaped(jax, 6, 6), shaped(jax, 6)
    operators = mpj.simulate(lambda a, b: solve(a, b).sum(), a, b, compile=False).operators
    names = {operator.name.partition("#")[0] for operator in operators}
    assert "triangular_solve" in names
    assert "custom_linear_solve" not in names


def test_finding_a_root_counts_what_is_found_with(jax, mpj):
    """In JAX 0.12 it is a primitive that stands for a function."""
    jnp = jax.numpy

    def solved(function, guess):
        return guess - jnp.tanh(guess)

    def loss(w):
        root = jax.lax.custom_root(
            lambda x: x * w - 1, jnp.ones(5), solved, lambda g, y: y / g(jnp.ones(5))
        )
        return root.sum()

    names = {operator.name for operator in mpj.simulate(loss, shaped(jax, 5)).operators}
    assert "tanh" in names
    assert "call_hi_primitive" not in names


def test_the_gradient_of_one_element_lies_in_a_buffer_of_its_own(jax, mpj):
    """The first of its equations only gives the loss's cotangent another shape."""
    jnp = jax.numpy
    for fun in (lambda w: w[jnp.argmax(w)], lambda w: w.sum(keepdims=True)[0]):
        jaxpr = flat_jaxpr(jax, jax.value_and_grad(fun), (shaped(jax, 9),))
        trace = mpj.simulate(fun, shaped(jax, 9), compile=False)
        assert live_during(trace) == brute_force_live(jaxpr)


def test_what_a_policy_offloads_takes_no_memory_of_the_device(jax, mpj):
    from jax.ad_checkpoint import checkpoint_name

    jnp, policies = jax.numpy, jax.checkpoint_policies

    def loss_with(policy):
        def layer(w, x):
            return jnp.sin(checkpoint_name(x @ w, "z"))

        def loss(w, x):
            for _ in range(3):
                x = jax.checkpoint(layer, policy=policy)(w, x)
            return x.sum()

        return loss

    args = shaped(jax, 8, 8), shaped(jax, 32, 8)
    offload = policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=["z"],
        offload_src="device",
        offload_dst="pinned_host",
    )
    kept = mpj.simulate(loss_with(policies.save_only_these_names("z")), *args, compile=False)
    moved = mpj.simulate(loss_with(offload), *args, compile=False)
    assert kept.saved_bytes - moved.saved_bytes == 3 * 4 * 32 * 8


def test_a_device_put_to_nowhere_is_a_view(jax, mpj):
    put = mpj.simulate(lambda w: jax.device_put(w * 2).sum(), shaped(jax, 9), compile=False)
    plain = mpj.simulate(lambda w: (w * 2).sum(), shaped(jax, 9), compile=False)
    assert put.peak == plain.peak


def test_what_was_exported_is_refused(jax, mpj):
    from jax import export

    called = export.export(jax.jit(jax.numpy.sin))(shaped(jax, 5)).call
    with pytest.raises(InvalidValueError, match="cannot count 'call_exported'"):
        mpj.simulate(lambda w: (w * called(jax.lax.stop_gradient(w))).sum(), shaped(jax, 5))


def test_what_cannot_be_differentiated_names_the_line_and_the_reason(jax, mpj):
    def loss(w):
        return jax.pure_callback(abs, shaped(jax, 5), w).sum()

    told = r"not differentiated, at test_jax_forms.py:\d+ \(.*loss\): .*[Cc]allback"
    with pytest.raises(InvalidValueError, match=told):
        mpj.simulate(loss, shaped(jax, 5))
    with pytest.raises(InvalidValueError, match=told):
        mpj.saved_residuals(loss, shaped(jax, 5))


def test_a_loop_of_unknown_length_cannot_be_differentiated(jax, mpj):
    def loss(w, n):
        return jax.lax.fori_loop(0, n, lambda _, x: x * 2, w).sum()

    with pytest.raises(InvalidValueError, match=r"not differentiated.*while_loop"):
        mpj.simulate(loss, shaped(jax, 5), shaped(jax, dtype="int32"))


def test_a_mistake_in_the_function_itself_is_told_as_jax_tells_it(jax, mpj):
    def loss(w):
        return (w @ w).sum()

    for look in (mpj.simulate, mpj.saved_residuals):
        with pytest.raises(TypeError, match="dot_general"):
            look(loss, shaped(jax, 3, 4))


def one_layer(jax):
    jnp = jax.numpy

    @jax.custom_jvp
    def own(x):
        return jnp.sin(x)

    own.defjvp(lambda primals, tangents: (own(*primals), tangents[0] * jnp.cos(primals[0])))

    @functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
    def power(x, n):
        return x**n

    power.defvjp(lambda x, n: (x**n, x), lambda n, x, ct: (ct * n * x ** (n - 1),))

    def mutated(x):
        cell = jax.new_ref(jnp.sin(x))
        cell[...] = cell[...] * x
        return jax.freeze(cell)

    twice = jax.jit(lambda x, n: jax.jit(own)(x) * n, static_argnums=1)

    return {
        "own_jvp": own,
        "own_vjp_with_a_number": lambda x: power(x, 3),
        "jit_in_jit": lambda x: twice(x, 2),
        "checkpoint_in_checkpoint": jax.checkpoint(lambda x: jax.checkpoint(jnp.sin)(x * x)),
        "associative_scan": lambda x: jax.lax.associative_scan(jnp.multiply, x),
        "cumsum": lambda x: jnp.cumsum(jnp.sin(x), 0),
        "fft": lambda x: abs(jnp.fft.rfft(x)),
        "sort": lambda x: jnp.sort(x)[:2],
        "gather": lambda x: jnp.sin(x)[jnp.array([0, 2])],
        "update": lambda x: jnp.zeros(20).at[3].set(jnp.sin(x[0, 0])),
        "einsum": lambda x: jnp.einsum("ij,kj->ik", x, x),
        "bfloat16": lambda x: jnp.sin(x.astype("bfloat16")).astype("float32"),
        "nothing": lambda x: x[:0],
        "mutable": mutated,
        "inner_gradient": jax.grad(lambda x: jnp.sin(x * x).sum()),
        "linearized": lambda x: jax.linearize(jnp.sin, x)[1](x),
        "vmap_of_grad": jax.vmap(jax.grad(lambda x: jnp.sin(x).sum())),
    }


KINDS = [
    "own_jvp",
    "own_vjp_with_a_number",
    "jit_in_jit",
    "checkpoint_in_checkpoint",
    "associative_scan",
    "cumsum",
    "fft",
    "sort",
    "gather",
    "update",
    "einsum",
    "bfloat16",
    "nothing",
    "mutable",
    "inner_gradient",
    "linearized",
    "vmap_of_grad",
]


@pytest.mark.parametrize("kind", KINDS)
def test_live_bytes_of_many_kinds_are_those_of_brute_force(kind, jax, mpj):
    layer = one_layer(jax)[kind]

    def loss(x):
        return (layer(x * 2) ** 2).sum()

    args = (shaped(jax, 6, 5),)
    jaxpr = flat_jaxpr(jax, jax.value_and_grad(loss), args)
    assert live_during(mpj.simulate(loss, *args, compile=False)) == brute_force_live(jaxpr)
