"""A plain NumPy training script: ``python script.py DEPTH WIDTH BATCH SECONDS TOOL``.

It knows nothing of who watches it, except for tools that must be called from within: TOOL may be
memprop_traced (a phase of a Profiler), memprop_watched (parameters and samples are watched, too) or
memory_profiler (line by line). It prints the median time of a step as a line of JSON.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays, np.ndarray, np.ndarray], object]


def parameters(widths: list[int]) -> Arrays:
    random = np.random.default_rng(0)
    made = {}
    for layer, (inputs, outputs) in enumerate(pairwise(widths)):
        W = random.normal(size=(inputs, outputs), scale=(2 / inputs) ** 0.5)
        made[f"W{layer}"] = W.astype(np.float32)
        made[f"b{layer}"] = np.zeros(outputs, np.float32)
    return made


def step(p: Arrays, x: np.ndarray, y: np.ndarray) -> Arrays:
    layers = len(p) // 2
    h = [x]
    for layer in range(layers):
        z = h[-1] @ p[f"W{layer}"] + p[f"b{layer}"]
        h.append(np.maximum(z, 0) if layer < layers - 1 else z)
    scores = h.pop()
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    d = e / e.sum(axis=1, keepdims=True)
    d[np.arange(len(y)), y] -= 1
    d /= len(y)
    gradients = {}
    for layer in reversed(range(layers)):
        gradients[f"W{layer}"] = h[layer].T @ d
        gradients[f"b{layer}"] = d.sum(axis=0)
        if layer:
            d = (d @ p[f"W{layer}"].T) * (h[layer] > 0)
    return gradients


def train(p: Arrays, x: np.ndarray, y: np.ndarray, seconds: float, run: Run = step) -> list[float]:
    """Run steps for ``seconds``, at least three; returns the time of each."""
    taken = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 3:
        begin = time.perf_counter()
        run(p, x, y)
        taken.append(time.perf_counter() - begin)
    return taken


def traced(p: Arrays, x: np.ndarray, y: np.ndarray, seconds: float) -> list[float]:
    import memprop as mp

    with mp.Profiler() as profiler, profiler.phase("training"):
        return train(p, x, y, seconds)


def watched(p: Arrays, x: np.ndarray, y: np.ndarray, seconds: float) -> list[float]:
    import memprop as mp

    with mp.Profiler() as profiler, profiler.phase("training"):
        p = profiler.watch(p, "p", category="parameter")
        x = profiler.watch(x, "x")
        return train(p, x, y, seconds)


def line_by_line(p: Arrays, x: np.ndarray, y: np.ndarray, seconds: float) -> list[float]:
    from memory_profiler import profile

    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a stream for a decorator
        return train(p, x, y, seconds, profile(step, stream=nowhere))


TOOLS = {
    "plain": train,
    "memprop_traced": traced,
    "memprop_watched": watched,
    "memory_profiler": line_by_line,
}


def main() -> None:
    depth, width, batch = map(int, sys.argv[1:4])
    seconds, tool = float(sys.argv[4]), sys.argv[5]
    random = np.random.default_rng(0)
    x, y = random.random((batch, 64), dtype=np.float32), random.integers(0, 10, batch)
    p = parameters([64] + [width] * depth + [10])
    train(p, x, y, 0)
    taken = TOOLS[tool](p, x, y, seconds)
    print(json.dumps({"seconds": statistics.median(taken), "steps": len(taken)}))


if __name__ == "__main__":
    main()
