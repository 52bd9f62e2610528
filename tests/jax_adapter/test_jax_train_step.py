"""A whole training step of a user's: phases, categories, donation."""

import pytest
from jax_cases import CASES, FLAT, mlp, shaped
from jax_oracles import brute_force_live, flat_jaxpr, live_during, size
from optional import load_optional

from memprop.errors import InvalidTypeError, InvalidValueError
from memprop.terms import CATEGORIES


@pytest.fixture(scope="session")
def adam(optax):
    return optax.adam(1e-3)


@pytest.fixture(scope="session")
def step_of(jax, optax, adam):
    """The step of a loss, and its arguments with the state of Adam."""

    def made(case):
        fun, args = case(jax)

        def step(params, opt_state, *others):
            loss, grads = jax.value_and_grad(fun)(params, *others)
            updates, opt_state = adam.update(grads, opt_state, params)
            return optax.apply_updates(params, updates), opt_state, loss

        return step, (args[0], jax.eval_shape(adam.init, args[0]), *args[1:])

    return made


def total(tree, jax):
    return sum(size(leaf) for leaf in jax.tree.leaves(tree))


def at_the_end(trace):
    return dict(zip(CATEGORIES, trace.live.by_category[-1].tolist(), strict=True))


def given(trace, category):
    """The names of the arguments of a category."""
    first = trace.events.variable[trace.events.phase == 0]
    variables = [trace.variables[number] for number in first]
    return [v.name for v in variables if v.category == category]


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_step_that_simulate_puts_together(case, donate, jax, mpj, adam, step_of):
    step, args = step_of(CASES[case])
    jitted = jax.jit(step, donate_argnums=(0, 1) if donate else ())
    found = mpj.simulate_step(jitted, *args, compile=False)
    fun, plain = CASES[case](jax)
    expected = mpj.simulate(fun, *plain, optimizer=adam, donate=donate, compile=False)
    assert live_during(found) == live_during(expected)
    assert found.saved_bytes == expected.saved_bytes
    assert found.peak_by_category() == expected.peak_by_category()
    assert at_the_end(found) == at_the_end(expected)
    phases = [[operator.phase for operator in trace.operators] for trace in (found, expected)]
    assert phases[0] == phases[1]


@pytest.mark.parametrize("donated", [(), (0,), (0, 1)])
@pytest.mark.parametrize("case", FLAT)
def test_live_bytes_are_those_of_brute_force(case, donated, jax, mpj, step_of):
    step, args = step_of(CASES[case])
    trace = mpj.simulate_step(jax.jit(step, donate_argnums=donated), *args, compile=False)
    count = sum(len(jax.tree.leaves(args[number])) for number in donated)
    expected = brute_force_live(flat_jaxpr(jax, step, args), range(count))
    assert live_during(trace) == expected


def test_categories_go_by_names_and_types(jax, mpj, optax, step_of):
    step, args = step_of(mlp)

    def renamed(weights, s, x, y):
        return step(weights, s, x, y)

    trace = mpj.simulate_step(renamed, *args, compile=False)
    assert len(given(trace, "parameter")) == 6
    assert len(given(trace, "optimizer_state")) == 13
    assert given(trace, "input") == ["x", "y"]


@pytest.mark.parametrize(
    ("parameters", "state"),
    [(0, 1), (-4, -3), ("p", "s"), (["p"], [1]), (["p[0]", "p[1]", "p[2]"], "s"), ("p", None)],
)
def test_categories_are_as_told(parameters, state, jax, mpj, step_of):
    step, args = step_of(mlp)

    def renamed(p, s, x, y):
        return step(p, s, x, y)

    trace = mpj.simulate_step(
        renamed, *args, parameters=parameters, optimizer_state=state, compile=False
    )
    assert len(given(trace, "parameter")) == 6
    assert len(given(trace, "optimizer_state")) == 13
    end = at_the_end(trace)
    assert end["parameter"] == 2 * total(args[0], jax)
    assert end["optimizer_state"] == 2 * total(args[1], jax)


def test_parts_of_one_argument_are_told_apart(jax, mpj, step_of):
    step, args = step_of(mlp)

    def carried(carry, batch):
        params, opt_state, loss = step(carry["params"], carry["opt_state"], *batch)
        return {"params": params, "opt_state": opt_state}, loss

    carry = {"params": args[0], "opt_state": args[1]}
    trace = mpj.simulate_step(carried, carry, args[2:], compile=False)
    assert given(trace, "input") == ["batch[0]", "batch[1]"]
    assert given(trace, "parameter")[0] == "carry['params'][0][0]"
    assert at_the_end(trace)["parameter"] == 2 * total(args[0], jax)


def test_without_an_optimizer_gradients_are_what_comes_out(jax, mpj):
    fun, args = mlp(jax)

    def step(params, x, y):
        return jax.value_and_grad(fun)(params, x, y)

    trace = mpj.simulate_step(step, *args, compile=False)
    assert {operator.phase for operator in trace.operators} == {"forward", "backward"}
    assert at_the_end(trace)["parameter_gradient"] == total(args[0], jax)
    assert at_the_end(trace)["parameter"] == total(args[0], jax)


def test_a_step_by_hand_renews_its_parameters(jax, mpj):
    fun, args = mlp(jax)

    def step(params, x, y):
        grads = jax.grad(fun)(params, x, y)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)

    trace = mpj.simulate_step(step, *args, compile=False)
    end = at_the_end(trace)
    assert end["parameter"] == 2 * total(args[0], jax)
    assert end["parameter_gradient"] == 0
    new = {v.name for v in trace.variables if v.name.startswith("new ")}
    assert new == {f"new params[{i}][{j}]" for i in range(3) for j in range(2)}


def test_gradients_summed_over_a_scan_are_gradients(jax, mpj, optax, adam):
    """In each part of the batch a pass forward and backward; sums of gradients beside."""
    fun, args = mlp(jax)

    def step(params, opt_state, xs, ys):
        def one(sums, batch):
            return jax.tree.map(jax.numpy.add, sums, jax.grad(fun)(params, *batch)), None

        zeros = jax.tree.map(jax.numpy.zeros_like, params)
        sums, _ = jax.lax.scan(one, zeros, (xs, ys))
        updates, opt_state = adam.update(sums, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    state = jax.eval_shape(adam.init, args[0])
    batches = shaped(jax, 4, 16, 64), shaped(jax, 4, 16, 10)
    trace = mpj.simulate_step(step, args[0], state, *batches, compile=False)
    sums = [v for v in trace.variables if v.name.startswith("scan.")]
    assert [v.category for v in sums] == ["parameter_gradient"] * 6
    assert sum(v.bytes for v in sums) == total(args[0], jax)
    hidden = [v for v in trace.variables if v.name.startswith("tanh")]
    assert [(v.category, v.bytes) for v in hidden] == [("activation", 4 * 16 * 32)] * 2


def test_a_scan_over_steps_renews_what_it_carries(jax, mpj, step_of):
    step, args = step_of(mlp)

    def epoch(params, opt_state, xs, ys):
        def one(carry, batch):
            params, opt_state, loss = step(*carry, *batch)
            return (params, opt_state), loss

        return jax.lax.scan(one, (params, opt_state), (xs, ys))

    batches = shaped(jax, 4, 16, 64), shaped(jax, 4, 16, 10)
    trace = mpj.simulate_step(epoch, *args[:2], *batches, compile=False)
    end = at_the_end(trace)
    assert end["parameter"] == 2 * total(args[0], jax)
    assert end["optimizer_state"] == 2 * total(args[1], jax)
    assert end["activation"] == 4 * 4
    phases = {operator.name: operator.phase for operator in trace.operators}
    assert phases["scan/tanh"] == "forward"
    assert phases["scan/sqrt"] == "update"


def test_two_models_in_turn_have_their_phases_each(jax, mpj):
    """As in adversarial training: forward, backward, update, and all of it again."""

    def loss(w, x):
        return jax.numpy.tanh(x @ w).sum()

    def step(params, x):
        one = params[0] - 0.1 * jax.grad(loss)(params[0], x)
        two = params[1] - 0.1 * jax.grad(loss)(params[1], x + one)
        return [one, two]

    trace = mpj.simulate_step(step, [shaped(jax, 8, 8)] * 2, shaped(jax, 8, 8), compile=False)
    phases = [operator.phase for operator in trace.operators]
    turns = [phase for number, phase in enumerate(phases) if phases[number - 1 : number] != [phase]]
    assert turns == ["forward", "backward", "update"] * 2


def test_the_compiled_figures_are_those_of_the_step_itself(jax, mpj, step_of):
    step, args = step_of(mlp)
    jitted = jax.jit(step, donate_argnums=(0, 1))
    about = mpj.simulate_step(jitted, *args).about
    stats = jitted.lower(*args).compile().memory_analysis()
    assert about["compiled_temp_bytes"] == stats.temp_size_in_bytes
    assert about["compiled_alias_bytes"] == total(args[:2], jax)
    plain = mpj.simulate_step(step, *args).about
    assert plain["compiled_alias_bytes"] == 0
    assert plain["function"] == "step"


def test_a_train_state_of_flax_is_told_apart(jax, mpj, adam):
    nn = load_optional("flax.linen")
    state_module = load_optional("flax.training.train_state")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.relu(nn.Dense(16)(x)))

    net = Net()
    x, y = shaped(jax, 5, 8), shaped(jax, 5, 4)
    params = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
    state = jax.eval_shape(
        lambda p: state_module.TrainState.create(apply_fn=net.apply, params=p, tx=adam), params
    )

    @jax.jit
    def step(state, batch):
        x, y = batch

        def loss(params):
            return ((state.apply_fn({"params": params}, x) - y) ** 2).mean()

        value, grads = jax.value_and_grad(loss)(state.params)
        return state.apply_gradients(grads=grads), value

    numbers = (8 * 16 + 16) + (16 * 4 + 4)
    trace = mpj.simulate_step(step, state, (x, y), compile=False)
    assert trace.persistent_bytes == 4 * numbers + 2 * 4 * numbers + 4
    assert given(trace, "input") == ["state.step", "batch[0]", "batch[1]"]
    assert at_the_end(trace)["parameter"] == 2 * 4 * numbers
    direct = mpj.simulate(
        lambda params: ((net.apply({"params": params}, x_of(jax, x)) - 1) ** 2).mean(),
        params,
        optimizer=adam,
        compile=False,
    )
    assert direct.persistent_bytes == trace.persistent_bytes


def x_of(jax, aval):
    return jax.numpy.ones(aval.shape, aval.dtype)


def test_the_state_of_a_module_of_nnx_is_a_parameter(jax, mpj, adam):
    nnx = load_optional("flax.nnx")
    model = nnx.Sequential(
        nnx.Linear(8, 16, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(16, 4, rngs=nnx.Rngs(1))
    )
    graph, state = nnx.split(model)

    def loss(state, x, y):
        return ((nnx.merge(graph, state)(x) - y) ** 2).mean()

    numbers = (8 * 16 + 16) + (16 * 4 + 4)
    args = shaped(jax, 5, 8), shaped(jax, 5, 4)
    trace = mpj.simulate(loss, state, *args, optimizer=adam, compile=False)
    assert trace.persistent_bytes == 3 * 4 * numbers + 4


def test_a_module_changed_in_place_is_refused(jax, mpj, adam):
    nnx = load_optional("flax.nnx")
    model = nnx.Linear(8, 4, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, adam, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x):
        value, grads = nnx.value_and_grad(lambda model: model(x).sum())(model)
        optimizer.update(model, grads)
        return value

    with pytest.raises(InvalidValueError, match="returns nothing that is made of them"):
        mpj.simulate_step(step, model, optimizer, shaped(jax, 5, 8), parameters=0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {},
            InvalidValueError,
            r"say which are parameters, as parameters=0 .*there are p, s, x, y",
        ),
        ({"parameters": "q"}, InvalidValueError, r"parameters='q' is no argument .*p, s, x, y"),
        ({"parameters": "p["}, InvalidValueError, "is no argument"),
        ({"parameters": 4}, InvalidValueError, "parameters=4, but step is given 4 arguments"),
        ({"parameters": -5}, InvalidValueError, "parameters=-5"),
        ({"parameters": 0.5}, InvalidTypeError, "names or positions of arguments, got 0.5"),
        ({"parameters": [None]}, InvalidTypeError, "names or positions"),
        ({"parameters": 0, "optimizer_state": "p[1]"}, InvalidValueError, "named both"),
        ({"parameters": []}, InvalidValueError, "say which are parameters"),
    ],
)
def test_places_that_are_none_are_refused(options, error, message, jax, mpj, step_of):
    step, args = step_of(mlp)

    def renamed(p, s, x, y):
        return step(p, s, x, y)

    with pytest.raises(error, match=message):
        mpj.simulate_step(renamed, *args, **options)


def test_a_static_argument_is_told(jax, mpj):
    step = jax.jit(lambda params, n: params * n, static_argnums=1)
    with pytest.raises(InvalidValueError, match=r"static: bind that one with functools.partial"):
        mpj.simulate_step(step, shaped(jax, 3), 2)
