"""How long a prediction takes: a simulated step, and peaks over many batch sizes.

Models are made anew for each run, so that nothing is known of them from the last one.
"""

import statistics
import time

import numpy as np

import memprop as mp
from experiments.benchmarks.contenders.serve import serve


def prepare(depth: int, width: int) -> list[int]:
    """The widths of a model."""
    return [64] + [width] * depth + [10]


def simulate_seconds(widths: list[int], runs: int) -> float:
    """The median time of ``mp.simulate`` of a new model."""
    return statistics.median(_simulate(mp.MLP(widths)) for _ in range(runs))


def _simulate(model: mp.MLP) -> float:
    begin = time.perf_counter()
    mp.simulate(model, batch=256)
    return time.perf_counter() - begin


def peaks_seconds(widths: list[int], sizes: int) -> float:
    """The time of ``mp.peak_bytes`` of a new model for batches of 1 to ``sizes``."""
    model, batches = mp.MLP(widths), np.arange(1, sizes + 1)
    begin = time.perf_counter()
    mp.peak_bytes(model, batch=batches)
    return time.perf_counter() - begin


if __name__ == "__main__":
    serve(prepare, simulate=simulate_seconds, peaks=peaks_seconds)
