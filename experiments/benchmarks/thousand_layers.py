"""A network of 1,000 layers trained for real: memory and time of schedules that recompute.

Run: python experiments/benchmarks/thousand_layers.py

Steps are interleaved, so that a noisy machine is noisy for all, and the median is taken. Parameters
and the arena of each step are all there at once: about 0.5 GiB.
"""

import statistics
import time

import memprop as mp

SCHEDULES = ("lean", "sqrt", "revolve:10", "budget:40MiB", "budget:34MiB")
BATCH, REPEATS = 1024, 5


def main() -> None:
    digits = mp.load_digits()
    x, y = digits.batch(BATCH, seed=0)
    model = mp.MLP([64] + [64] * 1000 + [10])
    steps, planned = {}, {}
    for name in SCHEDULES:
        begin = time.perf_counter()
        steps[name] = mp.Step(model, BATCH, name, optimizer="sgd", record=False)
        planned[name] = time.perf_counter() - begin
        steps[name](x, y)
    taken = {name: [] for name in SCHEDULES}
    for _ in range(REPEATS):
        for name, step in steps.items():
            begin = time.perf_counter()
            step(x, y)
            taken[name].append(time.perf_counter() - begin)
    lean = statistics.median(taken["lean"])
    flops = steps["lean"].schedule.flops
    print("schedule       peak MiB  of it activations  step s  to lean  FLOPs to lean  planned s")
    for name, step in steps.items():
        trace = mp.simulate(model, BATCH, schedule=step.schedule, optimizer="sgd")
        activations = trace.peak_by_category()["activation"] / 2**20
        seconds = statistics.median(taken[name])
        print(
            f"{name:13s} {trace.peak / 2**20:9.1f} {activations:18.1f} {seconds:7.3f} "
            f"{seconds / lean:8.2f} {step.schedule.flops / flops:14.2f} {planned[name]:10.1f}"
        )


if __name__ == "__main__":
    main()
