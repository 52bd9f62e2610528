"""Independent sources of the right numbers: formulas, finite differences, PyTorch, plain models.

Nothing here imports memprop.
"""

import gc
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
