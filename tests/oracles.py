"""Independent sources of the right numbers: formulas, finite differences, PyTorch, plain models.

Nothing here imports memprop.
"""

import gc
import math
import tracemalloc
from itertools import pairwise

import numpy as np


def section_step(x, y, W1, W2, strength):
    """Forward and backward of Dive into Deep Learning 5.3, formula by formula.

    One hidden layer with relu, no bias, cross-entropy and an L2 penalty. ``x`` is one column per
    sample here, as in the book, and L the mean over the samples.
    """
    n = x.shape[1]
    z = W1 @ x
    h = np.where(z > 0, z, 0)
    o = W2 @ h
    shifted = o - o.max(axis=0)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=0))
    L = -log_softmax[y, np.arange(n)].mean()
    s = strength / 2 * ((W1**2).sum() + (W2**2).sum())
    J = L + s
    dJ_do = (np.exp(log_softmax) - np.eye(len(o))[:, y]) / n
    dJ_dW2 = dJ_do @ h.T + strength * W2
    dJ_dh = W2.T @ dJ_do
    dJ_dz = dJ_dh * (z > 0)
    dJ_dW1 = dJ_dz @ x.T + strength * W1
    return {"L": L, "s": s, "J": J, "dW1": dJ_dW1, "dW2": dJ_dW2}


def central_differences(function, array, epsilon=1e-6):
    """The gradient of ``function()`` in ``array``, element by element; float64."""
    gradient = np.empty_like(array)
    flat, out = array.reshape(-1), gradient.reshape(-1)
    for place, value in enumerate(flat.tolist()):
        flat[place] = value + epsilon
        above = function()
        flat[place] = value - epsilon
        below = function()
        flat[place] = value
        out[place] = (above - below) / (2 * epsilon)
    return gradient


def torch_model(torch, widths, parameters, activation, bias, dtype):
    """The same network in PyTorch, with the same parameters."""
    nn = torch.nn
    kinds = {
        "relu": nn.ReLU,
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
        "gelu": nn.GELU,  # PyTorch's default is the exact erf form
        "silu": nn.SiLU,
        "identity": nn.Identity,
    }
    layers = []
    for layer, (inside, outside) in enumerate(pairwise(widths), start=1):
        linear = nn.Linear(inside, outside, bias=bias, dtype=getattr(torch, dtype))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(parameters[f"W{layer}"]))
            if bias:
                linear.bias.copy_(torch.from_numpy(parameters[f"b{layer}"]))
        layers += [linear, kinds[activation]()]
    return nn.Sequential(*layers[:-1])


def torch_objective(torch, net, x, y, loss, l2):
    """L + lambda / 2 * sum ||W||^2, from PyTorch's own losses."""
    functional = torch.nn.functional
    L = {"cross_entropy": functional.cross_entropy, "mse": functional.mse_loss}[loss](net(x), y)
    weights = [p for name, p in net.named_parameters() if name.endswith("weight")]
    return L + l2 / 2 * sum((W**2).sum() for W in weights)


def torch_named(net, what=lambda p: p):
    """``{"W1": array, "b1": array, ...}`` from the linear layers of ``net``, in order."""
    found = {}
    linears = [module for module in net if hasattr(module, "weight")]
    for layer, linear in enumerate(linears, start=1):
        found[f"W{layer}"] = what(linear.weight).detach().numpy()
        if linear.bias is not None:
            found[f"b{layer}"] = what(linear.bias).detach().numpy()
    return found


def dropout_mask(seed, layer, step, shape, p, dtype):
    """Which units of a layer are kept in a step, drawn in one go.

    The definition: Philox with the seed in the upper and the layer in the lower half of its key,
    and a counter that begins at step * 2^64.
    """
    philox = np.random.Philox(counter=step << 64, key=seed << 64 | layer)
    return np.random.Generator(philox).random(shape, dtype=dtype) >= p


def torch_output(torch, x, parameters, masks, *, widths, activation, norm, residual, p):
    """The output of an MLP with norms, dropout by ``masks`` and skip connections, in PyTorch."""
    functional = torch.nn.functional
    phi = {"identity": lambda z: z, "sigmoid": torch.sigmoid, "tanh": torch.tanh}.get(
        activation
    ) or getattr(functional, activation)
    h = x
    for layer, width in enumerate(widths[1:-1], start=1):
        z = functional.linear(h, parameters[f"W{layer}"], parameters.get(f"b{layer}"))
        if norm:
            scale = parameters[f"gamma{layer}"], parameters[f"beta{layer}"]
            z = functional.layer_norm(z, (width,), *scale, eps=1e-5)
        a = phi(z)
        if p:
            a = a * torch.from_numpy(masks[layer]) / (1 - p)
        h = a + h if residual and h.shape == a.shape else a
    last = len(widths) - 1
    return functional.linear(h, parameters[f"W{last}"], parameters.get(f"b{last}"))


# What every operator and every optimizer computes, formula by formula, on whole arrays.


def _softmax(o):
    powers = np.exp(o - o.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _max_pooled(x, *, window, image):
    height, width = (extent // window for extent in image)
    tiles = x[:, :, : height * window, : width * window]
    return tiles.reshape(*x.shape[:2], height, window, width, window).max(axis=(3, 5))


def _cross_entropy(o, y):
    return -np.log(_softmax(o)[np.arange(len(y)), y]).mean()


def _from_labels(dL, p, y):
    return dL * (p - (y[:, None] == np.arange(p.shape[1]))) / len(y)


def _normal_distribution(z):
    return np.vectorize(math.erfc, otypes=[float])(-z / math.sqrt(2)) / 2


def _normal_density(z):
    return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


def _normalised(z):
    deviation = np.sqrt(z.var(axis=1, keepdims=True) + 1e-5)
    return (z - z.mean(axis=1, keepdims=True)) / deviation, deviation


def _layer_norm_backward(dn, z, gamma):
    (x, deviation), g = _normalised(z), dn * gamma
    rest = g.mean(axis=1, keepdims=True) + x * (g * x).mean(axis=1, keepdims=True)
    return (g - rest) / deviation


def _kept(rows, t, dtype, p, seed, stream, micro_batch):
    """The mask of one micro-batch of a batch, as it is drawn for the batch."""
    count = micro_batch * len(rows)
    whole = dropout_mask(seed, stream, int(t), (count, *rows.shape[1:]), p, dtype)
    return whole[count - len(rows) :]


def _dropped(rows, t, *, p, **key):
    return rows * _kept(rows, t, p=p, **key) / (1 - p)


def sgd_step(W, dW, *, learning_rate):
    """W' = W - rate dW."""
    return (W - learning_rate * dW,)


def momentum_step(W, dW, v, *, learning_rate, momentum):
    """Polyak's heavy ball, as Sutskever et al. 2013 have it but for where the rate stands."""
    velocity = momentum * v + dW
    return W - learning_rate * velocity, velocity


def adam_step(W, dW, m, v, t, *, learning_rate, beta1, beta2, epsilon):
    """Algorithm 1 of Kingma & Ba 2015; ``t`` counts the steps before this one."""
    mean = beta1 * m + (1 - beta1) * dW
    square = beta2 * v + (1 - beta2) * dW**2
    mean_hat, square_hat = mean / (1 - beta1 ** (t + 1)), square / (1 - beta2 ** (t + 1))
    return W - learning_rate * mean_hat / (np.sqrt(square_hat) + epsilon), mean, square


def adamw_step(W, dW, m, v, t, *, learning_rate, weight_decay, **constants):
    """Algorithm 2 of Loshchilov & Hutter 2019, its schedule 1 and its decay in the rate."""
    shrunk = W - learning_rate * weight_decay * W
    return adam_step(shrunk, dW, m, v, t, learning_rate=learning_rate, **constants)


OPTIMIZERS = {"sgd": sgd_step, "momentum": momentum_step, "adam": adam_step, "adamw": adamw_step}
"""From W, dW, the state and, where it counts, the number of steps before: W' and the new state."""

FORMULAS = {
    "relu": lambda z: np.where(z > 0, z, 0),
    "relu_backward": lambda dh, z: np.where(z > 0, dh, 0),
    "tanh": np.tanh,
    "tanh_backward": lambda dh, h: dh * (1 - h**2),
    "tanh_backward_from_input": lambda dh, z: dh / np.cosh(z) ** 2,
    "sigmoid": _sigmoid,
    "sigmoid_backward": lambda dh, h: dh * h * (1 - h),
    "sigmoid_backward_from_input": lambda dh, z: dh * _sigmoid(z) * _sigmoid(-z),
    "silu": lambda z: z * _sigmoid(z),
    "silu_backward": lambda dh, z: dh * _sigmoid(z) * (1 + z * _sigmoid(-z)),
    "gelu": lambda z: z * _normal_distribution(z),
    "gelu_backward": lambda dh, z: dh * (_normal_distribution(z) + z * _normal_density(z)),
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "softplus_backward": lambda dh, h: dh * (np.exp(h) - 1) / np.exp(h),
    "softplus_backward_from_input": lambda dh, z: dh / (1 + np.exp(-z)),
    "identity": lambda z: z,
    "flatten": lambda x, *, shape: x.reshape(len(x), -1),
    "unflatten": lambda df, *, shape: df.reshape(len(df), *shape),
    "softmax": _softmax,
    "embedding": lambda ids, W, **_: W[ids],
    "max_pool": _max_pooled,
    "add": lambda a, b: a + b,
    "linear": lambda x, W: np.einsum("ni,oi->no", x, W),
    "affine": lambda x, W, b: np.einsum("ni,oi->no", x, W) + b,
    "linear_weight_gradient": lambda dz, x: np.einsum("no,ni->oi", dz, x),
    "linear_input_gradient": lambda dz, W: np.einsum("no,oi->ni", dz, W),
    "column_sum": lambda dz: dz.sum(axis=0),
    "layer_norm": lambda z, gamma, beta: gamma * _normalised(z)[0] + beta,
    "layer_norm_gain_gradient": lambda dn, z: (dn * _normalised(z)[0]).sum(axis=0),
    "layer_norm_backward": _layer_norm_backward,
    "dropout": _dropped,
    "dropout_backward": _dropped,
    "dropout_keeping_mask": lambda x, t, **key: (_dropped(x, t, **key), _kept(x, t, **key)),
    "dropout_backward_from_mask": lambda dy, mask, *, p, **_: dy * mask / (1 - p),
    "cross_entropy": _cross_entropy,
    "cross_entropy_with_softmax": lambda o, y: (_cross_entropy(o, y), _softmax(o)),
    "cross_entropy_backward": _from_labels,
    "cross_entropy_backward_from_output": lambda dL, o, y: _from_labels(dL, _softmax(o), y),
    "mse": lambda o, y: ((o - y) ** 2).mean(),
    "mse_with_error": lambda o, y: (((o - y) ** 2).mean(), o - y),
    "mse_backward": lambda dL, r: dL * 2 * r / r.size,
    "mse_backward_from_output": lambda dL, o, y: dL * 2 * (o - y) / o.size,
    "penalty": lambda *weights, strength: strength / 2 * sum((W**2).sum() for W in weights),
    "penalty_backward": lambda dW, ds, W, *, strength: dW + ds * strength * W,
    "objective": lambda L, s: L + s,
    "one": lambda *, dtype: np.ones((), dtype),
    "mean_loss": lambda *losses, micro_batches: sum(losses) / micro_batches,
    "mean_loss_backward": lambda dmean, *, micro_batches: dmean / micro_batches,
    "count": lambda t: t + 1,
    **OPTIMIZERS,
}
"""What each operator computes from its operands in float64: a result, or a tuple of several.

The operators of dropout are handed the dtype in which they draw as well.
"""


def traced_growth(run, forget=lambda: None):
    """Bytes by which the traced peak of ``run()`` exceeds what was held before it.

    The witness is calibrated first with one array of known size: some NumPy releases report a
    buffer twice. ``run`` is warmed up so that imports and caches do not count; ``forget()`` lets go
    of what a run leaves behind.
    """
    run()
    gc.freeze()  # what is there already need not be looked at by every collection below
    tracemalloc.start()
    try:
        size = 1 << 20
        before = tracemalloc.get_traced_memory()[0]
        array = np.empty(size, dtype=np.uint8)
        reported = tracemalloc.get_traced_memory()[0] - before
        del array
        assert size <= reported < size + 1024, f"tracemalloc reports {reported} for {size} bytes"
        run()
        forget()
        gc.collect()
        base = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        run()
        return tracemalloc.get_traced_memory()[1] - base
    finally:
        tracemalloc.stop()
