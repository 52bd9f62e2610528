"""A loop in NumPy that keeps more than it should: python docs/examples/numpy_loop.py [FIGURE]."""

import sys

import numpy as np
import pandas as pd

import memprop as mp

pd.set_option("display.width", 120, "display.max_columns", 12)

rng = np.random.default_rng(0)
W = rng.normal(size=(256, 64))
history = []


def train_step(prof, x, y):
    with prof.phase("forward"):
        h = np.tanh(x @ W)
        error = h - y
    with prof.phase("backward"):
        dW = x.T @ (error * (1 - h**2))
        dW = prof.watch(dW, "dW", category="parameter_gradient")
    with prof.phase("update"):
        np.subtract(W, 0.01 * dW, out=W)
    history.append(error.T)  # a view: it keeps the whole array alive


with mp.Profiler() as prof:
    W = prof.watch(W, "W", category="parameter")
    for _ in range(6):
        x, y = rng.normal(size=(512, 256)), rng.normal(size=(512, 64))
        train_step(prof, prof.watch(x, "x"), y)
        prof.step()

sizes = dict.fromkeys(["bytes", "peak_bytes", "live_bytes", "growth_bytes"], mp.format_bytes)
steps = prof.steps()[["step", "peak_bytes", "peak_operator", "live_bytes", "growth_bytes"]]
print(steps.to_string(index=False, formatters=sizes))
growth = prof.growth()[["bytes", "count", "steps", "first_step", "operator", "line"]]
print(growth.to_string(index=False, formatters=sizes))

axes = mp.plot.steps(prof.steps())

if len(sys.argv) > 1:
    axes.figure.savefig(sys.argv[1], dpi=110)
