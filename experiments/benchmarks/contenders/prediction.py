"""How long a prediction takes: a simulated step, and peaks over many batch sizes."""

import time

import numpy as np

import memprop as mp
from experiments.benchmarks.contenders.problem import widths
from experiments.benchmarks.contenders.serve import serve


def simulate_seconds(layers: list[int]) -> float:
    """The time of ``mp.simulate`` of a new model."""
    model = mp.MLP(layers)
    begin = time.perf_counter()
    mp.simulate(model, batch=256)
    return time.perf_counter() - begin


def peaks_seconds(layers: list[int], sizes: int) -> float:
    """The time of ``mp.peak_bytes`` of a new model for batches of 1 to ``sizes``."""
    model, batches = mp.MLP(layers), np.arange(1, sizes + 1)
    begin = time.perf_counter()
    mp.peak_bytes(model, batch=batches)
    return time.perf_counter() - begin


if __name__ == "__main__":
    serve(widths, simulate=simulate_seconds, peaks=peaks_seconds)
