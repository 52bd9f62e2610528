"""What a stack of layers keeps for backward in JAX, and what jax.checkpoint makes of it.

Run it as ``python docs/examples/checkpoint_in_jax.py [FIGURE]``;
with a path it draws the figure.
"""

import sys

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

import memprop as mp
import memprop.jax as mpj


def layer(w, x):
    z = checkpoint_name(x @ w, "z")
    return x + jax.nn.silu(z)


def loss_with(layer):
    def loss(weights, x, y):
        for w in weights:
            x = layer(w, x)
        return jnp.mean((x - y) ** 2)

    return loss


names = jax.checkpoint_policies.save_only_these_names("z")
LAYERS = {
    "no checkpoint": layer,
    "z by its name": jax.checkpoint(layer, policy=names),
    "checkpoint": jax.checkpoint(layer),
}

depth, width, batch = 8, 256, 1024
square = jax.ShapeDtypeStruct((width, width), "float32")
samples = jax.ShapeDtypeStruct((batch, width), "float32")
args = ([square] * depth, samples, samples)

print("one layer keeps")
one = mpj.saved_residuals(loss_with(layer), [square], samples, samples, argnums=0)
print(one[["name", "shape", "bytes", "primitive", "site"]].to_string(index=False))

print("\na step of eight layers")
traces = {name: mpj.simulate(loss_with(each), *args) for name, each in LAYERS.items()}
for name, trace in traces.items():
    kept, peak = mp.format_bytes(trace.saved_bytes), mp.format_bytes(trace.peak)
    print(f"{name:15} keeps {kept:>10}, peak {peak:>10} at {trace.peak_operator}")

print("\nwhat the compiler reports")
for name, trace in traces.items():
    temp, total = (trace.about[f"compiled_{part}_bytes"] for part in ("temp", "total"))
    print(f"{name:15} temp {mp.format_bytes(temp):>10}, in all {mp.format_bytes(total):>10}")

if len(sys.argv) > 1:
    import matplotlib.pyplot as plt

    top = 1.35 * max(trace.peak for trace in traces.values())
    figure, axes = plt.subplots(len(traces), figsize=(10, 8), layout="constrained")
    for ax, (name, trace) in zip(axes, traces.items(), strict=True):
        mp.plot.timeline(trace, ax, top=top)
        ax.set_title(name, loc="left")
    for ax in axes[1:]:
        ax.get_legend().remove()
    figure.savefig(sys.argv[1], dpi=100)
