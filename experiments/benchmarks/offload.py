"""What it costs to keep variables on disk: memory and time of a step beside "lean" and "sqrt".

Run: python experiments/benchmarks/offload.py [DIR]

Steps are interleaved, so that a noisy machine is noisy for all, and the median is taken. Without a
folder the one for temporary files is used. Files go through the system's cache of files, so as long
as memory is free the times are those of that cache, and those of the disk only when it is not.
"""

import statistics
import sys
import tempfile
import time

import memprop as mp

DEPTH, WIDTH, BATCH, REPEATS = 16, 512, 2048, 9


def main(folder: str) -> None:
    digits = mp.load_digits()
    x, y = digits.batch(BATCH, seed=0)
    model = mp.MLP([64, *[WIDTH] * DEPTH, 10])
    rates = mp.measure_rates(folder)
    names = ("lean", "sqrt", f"offload:{folder}")
    steps = {name: mp.Step(model, BATCH, name, record=False) for name in names}
    taken = {name: [] for name in names}
    for repeat in range(REPEATS + 1):
        for name, step in steps.items():
            begin = time.perf_counter()
            step(x, y)
            if repeat:  # the first run touches every page for the first time
                taken[name].append(time.perf_counter() - begin)
    print(f"{rates.flops:.3g} FLOPs a second, {mp.format_bytes(round(rates.disk_bytes))} a second")
    print("schedule  peak MiB  arena MiB  on disk MiB  step s  to lean  predicted")
    lean = steps["lean"].schedule
    for name, step in steps.items():
        made, seconds = step.schedule, statistics.median(taken[name])
        predicted = rates.seconds(made.flops, made.moved_bytes) / rates.seconds(lean.flops)
        print(
            f"{name.split(':')[0]:8s} {made.peak / 2**20:9.1f} {step.arena_bytes / 2**20:10.1f} "
            f"{made.disk_peak / 2**20:12.1f} {seconds:7.3f} "
            f"{seconds / statistics.median(taken['lean']):8.2f} {predicted:10.2f}"
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else tempfile.gettempdir())
