"""What profiling costs: a training step of a two-layer NumPy network, plain, traced and watched.

Run: OPENBLAS_NUM_THREADS=1 python experiments/benchmarks/profiler_cost.py
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

import memprop as mp

Arrays = dict[str, np.ndarray]


def parameters(width: int) -> Arrays:
    rng = np.random.default_rng(0)
    return {"W1": 0.01 * rng.normal(size=(width, width)), "W2": 0.01 * rng.normal(size=(width, 10))}


def step(p: Arrays, x: np.ndarray) -> Arrays:
    z = x @ p["W1"]
    h = np.maximum(z, 0)
    d = (h @ p["W2"]) / len(x)
    return {"W2": h.T @ d, "W1": x.T @ ((d @ p["W2"].T) * (z > 0))}


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    def once() -> float:
        begin = time.perf_counter()
        run()
        return time.perf_counter() - begin

    run()
    return statistics.median(once() for _ in range(repeats))


def main() -> None:
    print("batch  width  plain ms  traced  watched  (multiples of plain)")
    for batch, width in ((8, 16), (128, 128), (512, 1024)):
        repeats = 20 if width > 500 else 500
        p, x = parameters(width), np.ones((batch, width))
        plain = median_seconds(lambda p=p, x=x: step(p, x), repeats)
        with mp.Profiler() as prof, prof.phase("step"):
            traced = median_seconds(lambda p=p, x=x: step(p, x), repeats)
            p, x = prof.watch(p, "p", category="parameter"), prof.watch(x, "x")
            watched = median_seconds(lambda p=p, x=x: step(p, x), repeats)
        ratios = f"{traced / plain:6.2f}  {watched / plain:7.2f}"
        print(f"{batch:5d}  {width:5d}  {1e3 * plain:8.3f}  {ratios}")
    for _ in range(2):
        prof = mp.Profiler()
        begin = time.perf_counter()
        with prof.phase("empty"):
            pass
        print(f"the two ends of a phase: {1e3 * (time.perf_counter() - begin):.1f} ms")
        prof.close()


if __name__ == "__main__":
    main()
