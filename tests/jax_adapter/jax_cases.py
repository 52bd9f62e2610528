"""Functions of JAX whose residuals differ in kind; each case is the function and its arguments."""


def shaped(jax, *shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype)


def mlp(jax):
    jnp = jax.numpy

    def loss(params, x, y):
        h = x
        for w, b in params[:-1]:
            h = jnp.tanh(h @ w + b)
        w, b = params[-1]
        return jnp.mean((h @ w + b - y) ** 2)

    widths = [(64, 32), (32, 32), (32, 10)]
    params = [(shaped(jax, *pair), shaped(jax, pair[1])) for pair in widths]
    return loss, (params, shaped(jax, 16, 64), shaped(jax, 16, 10))


def cnn(jax):
    jnp = jax.numpy

    def loss(params, x):
        for kernel in params["kernels"]:
            x = jax.lax.conv(x, kernel, (1, 1), "SAME")
            x = jax.nn.relu(x)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        return jnp.mean(x.reshape(x.shape[0], -1) @ params["w"])

    kernels = [shaped(jax, 8, 3, 3, 3), shaped(jax, 16, 8, 3, 3)]
    params = {"kernels": kernels, "w": shaped(jax, 16 * 4 * 4, 10)}
    return loss, (params, shaped(jax, 4, 3, 16, 16))


def attention(jax):
    jnp = jax.numpy

    def loss(weights, x):
        q, k, v = (x @ w for w in weights)
        scores = jax.nn.softmax(q @ k.transpose(0, 2, 1) / jnp.sqrt(k.shape[-1]))
        return jnp.sum((scores @ v) ** 2)

    return loss, ([shaped(jax, 16, 8) for _ in range(3)], shaped(jax, 2, 12, 16))


def scanned(jax, length=5):
    jnp = jax.numpy

    def loss(weights, x):
        def layer(h, w):
            return jnp.tanh(h @ w), None

        return jnp.sum(jax.lax.scan(layer, x, weights)[0])

    return loss, (shaped(jax, length, 8, 8), shaped(jax, 4, 8))


def unrolled(jax, length=5):
    jnp = jax.numpy

    def loss(weights, x):
        h = x
        for layer in range(length):
            h = jnp.tanh(h @ weights[layer])
        return jnp.sum(h)

    return loss, scanned(jax, length)[1]


def recurrent(jax):
    """A scan with a carry, scanned inputs and stacked outputs."""
    jnp = jax.numpy

    def loss(cell, xs):
        def step(h, x):
            h = jnp.sin(h @ cell + x)
            return h, h * 2

        return jnp.sum(jax.lax.scan(step, jnp.zeros(6), xs)[1])

    return loss, (shaped(jax, 6, 6), shaped(jax, 7, 6))


def checkpointed(jax, policy):
    jnp = jax.numpy
    from jax.ad_checkpoint import checkpoint_name

    def block(w, x):
        h = checkpoint_name(jnp.sin(x @ w), "kept")
        return checkpoint_name(jnp.cos(h) * jnp.exp(h), "other")

    def loss(weights, x):
        for w in weights:
            x = jax.checkpoint(block, policy=policy)(w, x)
        return jnp.sum(x)

    return loss, ([shaped(jax, 8, 8) for _ in range(3)], shaped(jax, 4, 8))


def own_rule(jax):
    jnp = jax.numpy

    @jax.custom_vjp
    def clipped(x):
        return jnp.minimum(x * 3, 1.0)

    def forward(x):
        return clipped(x), (jnp.sign(x), x)

    clipped.defvjp(forward, lambda saved, ct: (ct * saved[0] * saved[1],))
    return lambda x: jnp.sum(clipped(jnp.sin(x))), (shaped(jax, 4, 8),)


def branches(jax):
    jnp = jax.numpy

    def loss(x, flag):
        def large(x):
            return jnp.sum(jnp.tile(jnp.sin(jnp.cos(x @ x) * 2), (4, 1, 1)), 0)

        return jnp.sum(jax.lax.cond(flag > 0, large, lambda x: x * 2, jnp.exp(x)))

    return loss, (shaped(jax, 8, 8), shaped(jax, dtype="int32"))


def while_without_gradient(jax):
    jnp = jax.numpy

    def loss(x, n):
        scale = jax.lax.while_loop(lambda s: s < n, lambda s: s * 2 + 1, jnp.int32(1))
        return jnp.sum(jnp.sin(x) * scale)

    return loss, (shaped(jax, 4, 8), shaped(jax, dtype="int32"))


def jitted(jax):
    jnp = jax.numpy

    @jax.jit
    def inner(w, x):
        hidden = jnp.tanh(x @ w)
        return hidden * jnp.exp(hidden)

    return lambda w, x: jnp.sum(inner(w, inner(w, x))), (shaped(jax, 8, 8), shaped(jax, 4, 8))


def mapped(jax):
    jnp = jax.numpy

    def one(w, x):
        return jnp.sum(jnp.tanh(w @ x) ** 2)

    def loss(w, xs):
        return jnp.mean(jax.vmap(one, (None, 0))(w, xs))

    return loss, (shaped(jax, 8, 8), shaped(jax, 4, 8))


def captured(jax):
    jnp = jax.numpy
    scale = jnp.arange(8.0)
    return lambda x: jnp.sum(jnp.sin(x) * scale), (shaped(jax, 4, 8),)


def dropped_out(jax):
    jnp = jax.numpy

    def loss(w, x, key):
        kept = jax.random.bernoulli(key, 0.5, (4, 8))
        return jnp.sum(jnp.where(kept, x @ w, 0) ** 2)

    return loss, (shaped(jax, 8, 8), shaped(jax, 4, 8), jax.eval_shape(jax.random.key, 0))


def checkpointed_scan(jax):
    jnp = jax.numpy

    def loss(weights, x):
        @jax.checkpoint
        def layer(h, w):
            return jnp.tanh(jnp.sin(h @ w)), None

        return jnp.sum(jax.lax.scan(layer, x, weights)[0])

    return loss, scanned(jax)[1]


def policies(jax):
    known = jax.checkpoint_policies
    return {
        "nothing": known.nothing_saveable,
        "everything": known.everything_saveable,
        "dots": known.dots_saveable,
        "names": known.save_only_these_names("kept"),
    }


def of_policy(name):
    return lambda jax: checkpointed(jax, policies(jax)[name])


CASES = {
    case.__name__: case
    for case in (
        mlp,
        cnn,
        attention,
        scanned,
        unrolled,
        recurrent,
        own_rule,
        branches,
        while_without_gradient,
        jitted,
        mapped,
        captured,
        dropped_out,
        checkpointed_scan,
    )
} | {f"checkpoint_{name}": of_policy(name) for name in ("nothing", "everything", "dots", "names")}

FLAT = [
    "mlp",
    "cnn",
    "attention",
    "unrolled",
    "own_rule",
    "jitted",
    "mapped",
    "captured",
    "checkpoint_nothing",
    "checkpoint_everything",
    "checkpoint_dots",
    "checkpoint_names",
]
"""Those without loops, branches and random keys."""
