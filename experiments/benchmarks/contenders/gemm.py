"""The limit: the matrix products of a step, back to back, into arrays made beforehand.

Layer l: z = h W^T forward, dW = dz^T h and dh = dz W backward; no dh of the input, and nothing
but products: no bias, activation, loss or update.
"""

from itertools import pairwise

import numpy as np

from experiments.benchmarks.contenders.problem import widths
from experiments.benchmarks.contenders.serve import Step, median_seconds, serve, warmed


def prepare(depth: int, width: int, batch: int, update: str | None = None) -> Step:  # noqa: ARG001
    """All products of a step of that shape; an update has none."""
    calls = products(widths(depth, width), batch)

    def step() -> None:
        for left, right, out in calls:
            np.matmul(left, right, out=out)

    return warmed(step)


def products(widths: list[int], batch: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """``(left, right, out)`` of each product, in the order of a step."""
    random = np.random.default_rng(0)
    h = [random.random((batch, n), dtype=np.float32) for n in widths]
    d = [np.zeros_like(each) for each in h]
    W = [random.random((n, m), dtype=np.float32) for m, n in pairwise(widths)]
    forward = [(h[i], W[i].T, h[i + 1]) for i in range(len(W))]
    backward = []
    for i in reversed(range(len(W))):
        backward.append((d[i + 1].T, h[i], np.empty_like(W[i])))
        if i:
            backward.append((d[i + 1], W[i], d[i]))
    return [*forward, *backward]


if __name__ == "__main__":
    serve(prepare, seconds=median_seconds)
