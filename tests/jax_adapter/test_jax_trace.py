"""The trace of a step: its bytes by formulas, by brute force, and beside the compiler's figures."""

import pytest
from jax_cases import CASES, FLAT, captured, mlp, recurrent, scanned, shaped, unrolled
from jax_oracles import brute_force_live, flat_jaxpr, live_during, size

import memprop as mp
from memprop.terms import CATEGORIES


def traced(mpj, case, jax, **options):
    fun, args = case(jax)
    return mpj.simulate(fun, *args, compile=False, **options)


@pytest.mark.parametrize("case", FLAT)
def test_live_bytes_are_those_of_brute_force(case, jax, mpj):
    fun, args = CASES[case](jax)
    jaxpr = flat_jaxpr(jax, jax.value_and_grad(fun), args)
    assert live_during(mpj.simulate(fun, *args, compile=False)) == brute_force_live(jaxpr)


@pytest.mark.parametrize("case", CASES)
def test_a_step_ends_with_arguments_loss_and_gradients(case, jax, mpj):
    fun, args = CASES[case](jax)
    trace = mpj.simulate(fun, *args, compile=False)
    parameters = [size(leaf) for leaf in jax.tree.leaves(args[0])]
    assert int(trace.live.by_category[-1].sum()) == trace.live.total[-1]
    end = dict(zip(CATEGORIES, trace.live.by_category[-1].tolist(), strict=True))
    assert end["parameter"] == end["parameter_gradient"] == sum(parameters)
    assert end["activation"] == 4
    assert end["activation_gradient"] == end["workspace"] == 0


@pytest.mark.parametrize("case", CASES)
def test_a_jit_around_it_changes_no_byte(case, jax, mpj):
    fun, args = CASES[case](jax)
    plain = mpj.simulate(fun, *args, compile=False)
    jitted = mpj.simulate(jax.jit(fun), *args, compile=False)
    assert (jitted.peak, jitted.saved_bytes) == (plain.peak, plain.saved_bytes)


@pytest.mark.parametrize("case", CASES)
def test_the_same_trace_comes_back_from_a_file(case, jax, mpj, tmp_path):
    trace = traced(mpj, CASES[case], jax)
    trace.save(tmp_path / "step.json.gz")
    assert mp.Trace.load(tmp_path / "step.json.gz") == trace


def test_arrays_and_their_shapes_give_the_same_trace(jax, mpj):
    fun, args = mlp(jax)
    arrays = jax.tree.map(lambda leaf: jax.numpy.ones(leaf.shape, leaf.dtype), args)
    assert mpj.simulate(fun, *arrays, compile=False) == mpj.simulate(fun, *args, compile=False)


def test_an_mlp_saves_what_the_engine_saves_and_one_minus_tanh(jax, mpj):
    """JAX's rule for tanh keeps y and 1 - y, (16, 32) each; memprop's keeps y."""
    fun, args = mlp(jax)
    ours = mp.simulate(mp.MLP([64, 32, 32, 10], activation="tanh", loss="mse"), batch=16)
    theirs = mpj.simulate(fun, *args, compile=False)
    assert theirs.saved_bytes == ours.saved_bytes + 2 * 4 * 16 * 32
    assert theirs.persistent_bytes == ours.persistent_bytes


@pytest.mark.parametrize("length", [2, 5])
def test_a_scan_saves_its_carry_again(length, jax, mpj):
    """Every layer keeps its input, and what the rule of tanh keeps: 1 - y^2, or y and 1 - y. A scan
    stacks all of it. Layer by layer an output is the next input, and kept once."""
    state = 4 * 4 * 8
    kept = len(jax.tree.leaves(jax.vjp(jax.numpy.tanh, jax.numpy.ones(3))[1]))
    assert kept in (1, 2)
    looped = traced(mpj, lambda jax: scanned(jax, length), jax)
    by_hand = traced(mpj, lambda jax: unrolled(jax, length), jax).intermediates()
    assert looped.saved_bytes == (1 + kept) * length * state
    activations = by_hand[~by_hand["variable"].str.startswith("squeeze")]
    assert activations["bytes"].sum() == (2 * length + kept - 1) * state


def test_a_scan_holds_its_results_and_one_body(jax, mpj):
    """Arguments, the first carry; the carry, y and two residuals stacked; in the body a slice of
    xs, the product and their sum, or a sine, a cosine and a product."""
    length, width = 7, 6
    state = 4 * width
    trace = traced(mpj, recurrent, jax)
    frame = trace.timeline()
    during = frame[(frame["phase"] == "forward") & frame["operator"].str.startswith("scan")]
    given = 4 * width * width + length * state
    assert during["live_bytes"].max() == given + 2 * state + 3 * length * state + 3 * state
    assert during["workspace"].max() == 3 * state
    assert during["activation"].max() == 2 * state + 3 * length * state


def test_the_body_of_a_scan_stands_once(jax, mpj):
    def names(length):
        fun, args = scanned(jax, length)
        return [operator.name for operator in mpj.simulate(fun, *args, compile=False).operators]

    assert names(2) == names(50)
    assert "scan/tanh" in names(2)


def test_of_branches_the_larger_is_taken(jax, mpj):
    fun, args = CASES["branches"](jax)
    operators = [operator.name for operator in mpj.simulate(fun, *args, compile=False).operators]
    assert {"cond/dot_general", "cond/cos", "cond/sin"} <= set(operators)


def test_a_while_loop_is_a_condition_and_a_body(jax, mpj):
    trace = traced(mpj, CASES["while_without_gradient"], jax)
    assert {"while/lt", "while/mul", "while/add"} <= {op.name for op in trace.operators}


def test_views_count_once(jax, mpj):
    jnp = jax.numpy
    x = shaped(jax, 4, 6)
    plain = mpj.simulate(lambda x: jnp.sum(jnp.sin(x) ** 2), x, compile=False)
    viewed = mpj.simulate(lambda x: jnp.sum(jnp.sin(x).reshape(24)[None] ** 2), x, compile=False)
    assert viewed.peak == plain.peak


def test_values_computed_again_are_activations_in_backward(jax, mpj):
    again = traced(mpj, CASES["checkpoint_nothing"], jax)
    kept = traced(mpj, CASES["checkpoint_everything"], jax)

    def sines(trace):
        return [o for o in trace.operators if o.name.startswith("sin") and o.phase == "backward"]

    def category(trace, operator):
        made = trace.events.variable[
            (trace.events.operator == trace.operators.index(operator)) & (trace.events.kind == 0)
        ]
        return trace.variables[made[0]].category

    assert {category(again, operator) for operator in sines(again)} == {"activation"}
    assert not sines(kept)
    assert again.peak < kept.peak


def test_zeros_of_the_backward_pass_belong_to_gradients(jax, mpj):
    """Where relu is off its gradient is chosen from zeros, made in backward for this purpose."""
    trace = mpj.simulate(
        lambda x: jax.nn.relu(jax.numpy.sin(x)).sum(), shaped(jax, 7), compile=False
    )
    frame = trace.timeline()
    zeros = frame[(frame["kind"] == "allocate") & (frame["phase"] == "backward")]
    zeros = zeros[zeros["operator"].str.startswith("broadcast_in_dim")]["variable"]
    category = {variable.name: variable.category for variable in trace.variables}
    assert len(zeros) == 2
    assert {category[name] for name in zeros} == {"activation_gradient"}


def test_argnums_choose_what_is_a_parameter(jax, mpj):
    fun, args = mlp(jax)
    trace = mpj.simulate(fun, *args, argnums=(2, 0), compile=False)
    gradients = {v.name: v for v in trace.variables if v.category == "parameter_gradient"}
    parameters = [v for v in trace.variables if v.category == "parameter"]
    assert {v.name for v in parameters} >= {"y", "params[2][1]"}
    assert len(gradients) == len(parameters)
    assert all(gradients[f"gradient of {v.name}"].shape == v.shape for v in parameters)
    assert {v.name for v in trace.variables if v.category == "input"} == {"x"}


def test_aux_lives_to_the_end(jax, mpj):
    jnp = jax.numpy

    def loss(w, x):
        h = jnp.tanh(x @ w)
        return jnp.sum(h), (h, h + 1)

    trace = mpj.simulate(loss, shaped(jax, 8, 6), shaped(jax, 4, 8), has_aux=True, compile=False)
    end = dict(zip(CATEGORIES, trace.live.by_category[-1].tolist(), strict=True))
    assert end["activation"] == 4 + 2 * 4 * 4 * 6


def test_gradients_have_storages_of_their_own(jax, mpj):
    """The two gradients are one value in the jaxpr, and for x an argument."""
    pair = mpj.simulate(
        lambda p: (p[0] + p[1]).sum(), [shaped(jax, 5), shaped(jax, 5)], compile=False
    )
    assert pair.live.by_category[-1].sum() == 4 * 5 * 4 + 4
    unused = mpj.simulate(lambda w, x: x.sum(), shaped(jax, 5), shaped(jax, 5), compile=False)
    assert unused.live.by_category[-1].sum() == 3 * 5 * 4 + 4


def test_captured_arrays_are_inputs(jax, mpj):
    trace = traced(mpj, captured, jax)
    constants = [v for v in trace.variables if v.name.startswith("constant")]
    assert [(v.category, v.bytes) for v in constants] == [("input", 4 * 8)]


def test_arguments_count_whether_they_are_read_or_not(jax, mpj):
    trace = mpj.simulate(
        lambda w, x: (w * w).sum(), shaped(jax, 5), shaped(jax, 100), compile=False
    )
    assert trace.live.by_category[0].sum() + 400 == trace.live.by_category[1].sum()


def key_bytes(jax, key):
    """A key as the integers that it consists of."""
    return size(jax.eval_shape(jax.random.key_data, key))


def test_bytes_follow_the_dtype(jax, mpj):
    jnp = jax.numpy
    key = jax.eval_shape(jax.random.key, 0)
    given = (
        shaped(jax, 3, dtype="bfloat16"),
        shaped(jax, 3, dtype="int8"),
        shaped(jax, 3, dtype="bool"),
        key,
    )

    def loss(w, x, mask, key):
        noise = jax.random.normal(key, (3,), jnp.bfloat16)
        return jnp.sum(jnp.where(mask, w * x, noise))

    trace = mpj.simulate(loss, *given, compile=False)
    sizes = {variable.name: variable.bytes for variable in trace.variables}
    assert [sizes[name] for name in ("w", "x", "mask", "key")] == [6, 3, 3, key_bytes(jax, key)]
    assert sizes["loss"] == 2


@pytest.mark.parametrize("wide", [False, True])
def test_64_bits_are_those_of_the_flag(wide, jax, mpj):
    with jax.enable_x64(wide):
        trace = mpj.simulate(
            lambda w: (w * w).sum(), shaped(jax, 5, dtype="float64"), compile=False
        )
    assert trace.persistent_bytes == 5 * (8 if wide else 4)


def test_a_model_that_fits_nowhere_is_traced(jax, mpj):
    jnp = jax.numpy
    wide = 1_000_000
    trace = mpj.simulate(
        lambda w, x: jnp.sum(jnp.tanh(x @ w)),
        shaped(jax, wide, wide),
        shaped(jax, 64, wide),
        compile=False,
    )
    assert trace.peak > 2 * 4 * wide**2


def test_the_compiler_counts_the_same_arguments_and_results(jax, mpj):
    fun, args = mlp(jax)
    found = mpj.compiled_memory(fun, *args)
    arguments = [size(leaf) for leaf in jax.tree.leaves(args)]
    results = [4, *(size(leaf) for leaf in jax.tree.leaves(args[0]))]
    assert found["argument_bytes"] == sum(arguments)
    # XLA's CPU backend adds the table of pointers to the results.
    pointers = 8 * len(results)
    assert sum(results) <= found["output_bytes"] <= sum(results) + pointers
    assert found["alias_bytes"] == 0
    assert found["temp_bytes"] > 0
    assert found["total_bytes"] == sum(
        found[f"{part}_bytes"] for part in ("argument", "output", "temp")
    )


def test_the_compiled_figures_stand_beside_the_trace(jax, mpj):
    fun, args = mlp(jax)
    trace = mpj.simulate(fun, *args)
    figures = mpj.compiled_memory(fun, *args)
    told = {key: value for key, value in trace.about.items() if key.startswith("compiled_")}
    assert told == {f"compiled_{name}": value for name, value in figures.items()}
    assert trace.about["framework"] == "jax"
    assert trace.about["version"] == jax.__version__
    assert trace.about["device"] == jax.default_backend()
    assert trace.outputs is None


def test_without_compiling_its_figures_are_missing(jax, mpj):
    about = traced(mpj, mlp, jax).about
    assert not [key for key in about if key.startswith("compiled_")]


def test_the_compiler_needs_less_where_checkpoint_keeps_less(jax, mpj):
    def temporary(name):
        fun, args = CASES[f"checkpoint_{name}"](jax)
        return mpj.compiled_memory(fun, *args)["temp_bytes"]

    assert temporary("nothing") < temporary("everything")
