"""Where the bytes of a NumPy network go: python docs/examples/numpy_profile.py [FIGURE]."""

import sys

import numpy as np
import pandas as pd

import memprop as mp

pd.set_option("display.width", 100, "display.max_columns", 9)
sizes = {"bytes": mp.format_bytes, "bytes_freed": mp.format_bytes}


class Net:
    """Two layers with a tanh and a dropout, as anyone would write them."""

    def __init__(self, inputs, hidden, outputs):
        rng = np.random.default_rng(0)
        self.params = {
            "W1": 0.1 * rng.normal(size=(inputs, hidden)),
            "b1": np.zeros(hidden),
            "W2": 0.1 * rng.normal(size=(hidden, outputs)),
        }

    def forward(self, x):
        p = self.params
        z = x @ p["W1"] + p["b1"]
        h = np.tanh(z)
        mask = np.random.default_rng(1).random(h.shape) > 0.2
        dropped = h * mask / 0.8
        return dropped @ p["W2"], (x, z, h, mask, dropped)

    def backward(self, cache, dout):
        x, _, h, mask, dropped = cache
        dW2 = dropped.T @ dout
        dh = dout @ self.params["W2"].T * mask / 0.8
        dz = dh * (1 - h**2)
        return {"W1": x.T @ dz, "b1": dz.sum(axis=0), "W2": dW2}


x = np.random.default_rng(2).normal(size=(512, 256))
target = np.zeros((512, 10))

print("== the program as it is")
net = Net(256, 1024, 10)
with mp.Profiler() as prof:
    with prof.phase("forward"):
        out, cache = net.forward(x)
    with prof.phase("backward"):
        grads = net.backward(cache, (out - target) / len(x))
print(prof.cached().to_string(index=False, formatters=sizes))

print("\n== the same with its arrays watched")
with mp.Profiler() as prof:
    net.params = prof.watch(net.params, "p", category="parameter")
    watched = prof.watch(x, "x")
    with prof.phase("forward"):
        out, cache = net.forward(watched)
    with prof.phase("backward"):
        again = net.backward(cache, (out - target) / len(x))
    prof.watch(again, "d", category="parameter_gradient")
trace = prof.trace
columns = ["variable", "shape", "bytes", "reused_by", "site"]
print(trace.intermediates()[columns].to_string(index=False, formatters=sizes))
print(f"peak {mp.format_bytes(trace.peak)} at {trace.peak_operator}")
print("the same bits:", all(np.array_equal(again[name], grads[name]) for name in grads))

print("\n== bytes that watching did not see, at the end of each phase")
print(prof.phases()[["path", "watched_bytes", "unseen_bytes"]].to_string(index=False))

print("\n== what if it were computed again?")
columns = ["variable", "bytes_freed", "operations", "recompute", "needs"]
print(mp.what_if(trace)[columns].to_string(index=False, formatters=sizes))

if len(sys.argv) > 1:
    trace.plot().figure.savefig(sys.argv[1], dpi=110)
