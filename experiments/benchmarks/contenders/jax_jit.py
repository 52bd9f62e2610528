"""JAX, one jitted function a step: ``python -m ... jax_jit THREADS``.

XLA takes as many threads as the process may use cores, so the cores are taken away before it is
loaded. Parameters and state are donated where they are updated.
"""

import os
import sys

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.contenders import high_water
from experiments.benchmarks.contenders.problem import samples, widths
from experiments.benchmarks.contenders.serve import median_seconds, serve, warmed

RATE, MEAN_DECAY, SQUARE_DECAY, EPSILON = 1e-3, 0.9, 0.999, 1e-8
tree = jax.tree.map


@dataclass
class Training:
    """A compiled step, and the state that it replaces by a new one."""

    compiled: Any
    state: tuple[Any, ...]
    samples: tuple[jax.Array, jax.Array]
    updates: bool

    def __call__(self) -> None:
        results = self.compiled(*self.state, *self.samples)
        if self.updates:
            _, *state = results
            self.state = tuple(state)
        jax.block_until_ready(results)


def prepare(depth: int, width: int, batch: int, update: str | None = None) -> Any:
    """A step on fixed samples; its gradients are dropped at its end."""
    p = parameters(widths(depth, width), np.random.default_rng(0))
    x, y = map(jnp.asarray, samples(batch))
    function = {None: jax.value_and_grad(loss), "sgd": sgd, "adam": adam}[update]
    state = (p,)
    if update == "adam":
        state = (p, tree(jnp.zeros_like, p), tree(jnp.zeros_like, p), jnp.float32(0))
    donated = () if update is None else tuple(range(len(state)))
    lowered = jax.jit(function, donate_argnums=donated).lower(*state, x, y)
    return warmed(Training(lowered.compile(), state, (x, y), update is not None))


def parameters(widths: list[int], random: np.random.Generator) -> list[tuple[jax.Array, jax.Array]]:
    """``(W, b)`` of each layer, W (inputs, outputs)."""
    made = []
    for inputs, outputs in pairwise(widths):
        W = random.normal(size=(inputs, outputs), scale=(2 / inputs) ** 0.5)
        made.append((jnp.asarray(W.astype(np.float32)), jnp.zeros(outputs, jnp.float32)))
    return made


def loss(p: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean cross entropy."""
    for W, b in p[:-1]:
        x = jax.nn.relu(x @ W + b)
    W, b = p[-1]
    scores = jax.nn.log_softmax(x @ W + b)
    return -jnp.mean(jnp.take_along_axis(scores, y[:, None], 1))


def sgd(p: Any, x: jax.Array, y: jax.Array) -> tuple[Any, ...]:
    """A step of gradient descent: the loss and new parameters."""
    value, gradients = jax.value_and_grad(loss)(p, x, y)
    return value, tree(lambda w, g: w - RATE * g, p, gradients)


def adam(p: Any, m: Any, v: Any, t: Any, x: jax.Array, y: jax.Array) -> tuple[Any, ...]:
    """A step of Adam (Kingma & Ba 2015, algorithm 1): the loss and all that it changes."""
    value, gradients = jax.value_and_grad(loss)(p, x, y)
    t = t + 1
    m = tree(lambda m, g: MEAN_DECAY * m + (1 - MEAN_DECAY) * g, m, gradients)
    v = tree(lambda v, g: SQUARE_DECAY * v + (1 - SQUARE_DECAY) * g * g, v, gradients)
    mean, square = 1 - MEAN_DECAY**t, 1 - SQUARE_DECAY**t

    def moved(w: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        return w - RATE * (m / mean) / (jnp.sqrt(v / square) + EPSILON)

    return value, tree(moved, p, m, v), m, v, t


def compiled_bytes(training: Training) -> int:
    """What the compiled step needs beside its arguments, by XLA: results and scratch."""
    memory = training.compiled.memory_analysis()
    written = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return written + memory.temp_size_in_bytes


if __name__ == "__main__":
    serve(
        prepare,
        seconds=median_seconds,
        growth=high_water.growth_bytes,
        own=compiled_bytes,
    )
