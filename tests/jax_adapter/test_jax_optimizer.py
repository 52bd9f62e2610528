"""A step with an optimizer of optax: its state, its update, and what is left of gradients."""

import math

import pytest
from jax_cases import CASES, FLAT, mlp, shaped
from jax_oracles import brute_force_live, flat_jaxpr, live_during, size

from memprop.errors import InvalidTypeError, InvalidValueError
from memprop.terms import CATEGORIES


def whole(jax, optax, optimizer, fun):
    """What a user would write: (params, state, *others) -> (loss, new params, new state)."""

    def step(params, opt_state, *others):
        loss, grads = jax.value_and_grad(fun)(params, *others)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return loss, optax.apply_updates(params, updates), opt_state

    return step


def optimizers(optax):
    return {
        "sgd": optax.sgd(0.1),
        "momentum": optax.sgd(0.1, momentum=0.9),
        "adam": optax.adam(1e-3),
        "adamw": optax.adamw(1e-3),
        "clipped": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)),
    }


def total(tree, jax):
    return sum(size(leaf) for leaf in jax.tree.leaves(tree))


def at_the_end(trace):
    return dict(zip(CATEGORIES, trace.live.by_category[-1].tolist(), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_adam_keeps_two_numbers_a_parameter_and_a_count(case, jax, mpj, optax):
    fun, args = CASES[case](jax)
    trace = mpj.simulate(fun, *args, optimizer=optax.adam(1e-3), compile=False)
    parameters = total(args[0], jax)
    assert trace.persistent_bytes == parameters + 2 * parameters + 4
    end = at_the_end(trace)
    assert end["parameter"] == 2 * parameters
    assert end["optimizer_state"] == 2 * (2 * parameters + 4)
    assert end["parameter_gradient"] == end["activation_gradient"] == end["workspace"] == 0
    assert end["activation"] == 4


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw", "clipped"])
def test_the_state_is_that_of_optax(name, jax, mpj, optax):
    fun, args = mlp(jax)
    optimizer = optimizers(optax)[name]
    arrays = jax.tree.map(lambda leaf: jax.numpy.ones(leaf.shape, leaf.dtype), args[0])
    real = sum(leaf.nbytes for leaf in jax.tree.leaves(optimizer.init(arrays)))
    trace = mpj.simulate(fun, *args, optimizer=optimizer, compile=False)
    given = [v for v in trace.variables if v.category == "optimizer_state"]
    assert sum(v.bytes for v in given if not v.name.startswith("new ")) == real
    assert trace.persistent_bytes == total(args[0], jax) + real


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize("case", FLAT)
def test_live_bytes_are_those_of_brute_force(case, donate, jax, mpj, optax):
    fun, args = CASES[case](jax)
    optimizer = optax.adam(1e-3)
    given = (args[0], jax.eval_shape(optimizer.init, args[0]), *args[1:])
    jaxpr = flat_jaxpr(jax, whole(jax, optax, optimizer, fun), given)
    donated = range(len(jax.tree.leaves(given[:2]))) if donate else ()
    trace = mpj.simulate(fun, *args, optimizer=optimizer, donate=donate, compile=False)
    assert live_during(trace) == brute_force_live(jaxpr, donated)


def test_what_is_donated_is_gone_at_the_end(jax, mpj, optax):
    fun, args = mlp(jax)
    trace = mpj.simulate(fun, *args, optimizer=optax.adam(1e-3), donate=True, compile=False)
    parameters = total(args[0], jax)
    end = at_the_end(trace)
    assert (end["parameter"], end["optimizer_state"]) == (parameters, 2 * parameters + 4)


def test_passes_are_those_of_the_gradient_and_update_follows(jax, mpj, optax):
    fun, args = mlp(jax)
    gradient = mpj.simulate(fun, *args, compile=False)
    stepped = mpj.simulate(fun, *args, optimizer=optax.adam(1e-3), compile=False)
    names = [(operator.name, operator.phase) for operator in stepped.operators]
    expected = [(operator.name, operator.phase) for operator in gradient.operators]
    assert names[: len(expected)] == expected
    assert {phase for _, phase in names[len(expected) :]} == {"update"}
    assert stepped.saved_bytes == gradient.saved_bytes


def test_a_gradient_that_nobody_needs_is_not_computed(jax, mpj, optax):
    """Frozen: the last layer's gradient needs neither its memory nor what only it reads."""
    fun, args = mlp(jax)
    labels = ["train"] * (len(args[0]) - 1) + ["freeze"]
    labels = [(label, label) for label in labels]
    frozen = optax.multi_transform(
        {"train": optax.adam(1e-3), "freeze": optax.set_to_zero()}, labels
    )
    trace = mpj.simulate(fun, *args, optimizer=frozen, compile=False)
    gradients = {v.name for v in trace.variables if v.category == "parameter_gradient"}
    assert gradients == {f"gradient of params[{i}][{j}]" for i in (0, 1) for j in (0, 1)}


def test_several_arguments_are_one_tree_to_the_optimizer(jax, mpj, optax):
    fun, args = mlp(jax)
    trace = mpj.simulate(fun, *args, argnums=(0, 2), optimizer=optax.adam(1e-3), compile=False)
    parameters = total((args[0], args[2]), jax)
    assert trace.persistent_bytes == 3 * parameters + 4


def test_aux_lives_to_the_end(jax, mpj, optax):
    def loss(w, x):
        h = jax.numpy.tanh(x @ w)
        return h.sum(), h

    given = shaped(jax, 8, 6), shaped(jax, 4, 8)
    trace = mpj.simulate(loss, *given, has_aux=True, optimizer=optax.sgd(0.1), compile=False)
    assert at_the_end(trace)["activation"] == 4 + 4 * 4 * 6


def test_an_optimizer_that_asks_for_the_loss_gets_it(jax, mpj, optax):
    fun, args = mlp(jax)
    trace = mpj.simulate(fun, *args, optimizer=optax.polyak_sgd(), compile=False)
    assert at_the_end(trace)["parameter"] == 2 * total(args[0], jax)


@pytest.mark.parametrize("donate", [False, True])
def test_the_compiler_counts_the_same_arguments_and_results(donate, jax, mpj, optax):
    fun, args = mlp(jax)
    parameters = total(args[0], jax)
    kept = parameters + 2 * parameters + 4
    found = mpj.compiled_memory(fun, *args, optimizer=optax.adam(1e-3), donate=donate)
    assert found["argument_bytes"] == kept + total(args[1:], jax)
    results = 1 + 3 * len(jax.tree.leaves(args[0])) + 1  # XLA's CPU backend adds their pointers
    assert kept + 4 <= found["output_bytes"] <= kept + 4 + 8 * results
    assert found["alias_bytes"] == (kept if donate else 0)


def test_the_compiled_figures_stand_beside_the_trace(jax, mpj, optax):
    fun, args = mlp(jax)
    options = {"optimizer": optax.adam(1e-3), "donate": True}
    about = mpj.simulate(fun, *args, **options).about
    figures = mpj.compiled_memory(fun, *args, **options)
    assert {f"compiled_{name}": each for name, each in figures.items()}.items() <= about.items()


@pytest.mark.parametrize("optimizer", [3, "adam", object()])
def test_what_is_no_optimizer_is_refused(optimizer, jax, mpj):
    fun, args = mlp(jax)
    with pytest.raises(InvalidTypeError, match="optimizer must have init and update"):
        mpj.simulate(fun, *args, optimizer=optimizer)


@pytest.mark.parametrize("name", ["simulate", "compiled_memory"])
def test_nothing_is_donated_without_an_optimizer(name, jax, mpj):
    fun, args = mlp(jax)
    with pytest.raises(InvalidValueError, match=r"donate=True .* name the optimizer too"):
        getattr(mpj, name)(fun, *args, donate=True)


def test_an_optimizer_that_needs_more_is_told(jax, mpj, optax):
    fun, args = mlp(jax)
    with pytest.raises(InvalidValueError, match=r"optimizer.update fails .*value_fn"):
        mpj.simulate(fun, *args, optimizer=optax.lbfgs(), compile=False)


def test_an_optimizer_need_not_be_of_optax(jax, mpj):
    class Plain:
        def init(self, params):
            return jax.tree.map(jax.numpy.zeros_like, params)

        def update(self, grads, state, params):
            return jax.tree.map(lambda g, s: -0.1 * g - s, grads, state), grads

    fun, args = mlp(jax)
    trace = mpj.simulate(fun, *args, optimizer=Plain(), compile=False)
    assert trace.persistent_bytes == 2 * total(args[0], jax)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "complex64"])
def test_state_follows_the_dtype(dtype, jax, mpj, optax):
    """Adam: the mean of gradients is as large as they are, the mean of squares too."""
    given = shaped(jax, 6, 5, dtype=dtype)
    trace = mpj.simulate(
        lambda w: (abs(w) ** 2).sum(), given, optimizer=optax.adam(1e-3), compile=False
    )
    real = jax.eval_shape(optax.adam(1e-3).init, given)
    assert trace.persistent_bytes == size(given) + total(real, jax)
    assert size(given) == math.prod(given.shape) * {"bfloat16": 2, "float32": 4}.get(dtype, 8)
