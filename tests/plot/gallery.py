"""The pictures of the gallery; run as a script, it draws their baselines anew: look at them."""

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import memprop as mp
from memprop.traces.requests import FREED, Requests
from memprop.traces.steps import StepSummary, steps_table

BASELINE = Path(__file__).parent / "baseline"

STYLE = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib
    "font.size": 7,
    "text.hinting": "none",
    "figure.dpi": 80,
    "savefig.dpi": 80,
}


def step(schedule="textbook", **options):
    return mp.simulate(mp.MLP([64, *[48] * 6, 10]), 32, schedule=schedule, **options)


def on_a_gpu(schedule="sqrt"):
    """The same step as if each of its storages were asked of a GPU's allocator, at 4096 times."""
    trace = step(schedule, optimizer="adam")
    events, lives = trace.events, trace.lives
    first = {}
    for born, died, storage in zip(lives.born, lives.died, lives.storage, strict=True):
        begin, end = first.get(storage, (born, died))
        first[storage] = min(begin, born), max(end, died)
    asked = [
        (at, storage, 4096 * int(events.bytes[begin]) if at == begin else FREED)
        for storage, (begin, end) in first.items()
        for at in (begin, end)
        if at < len(events)
    ]
    event, block, size = np.array(sorted(asked), dtype=np.int64).T
    return replace(trace, requests=Requests(block, size, event, block))


def loop(leak=1.0):
    """A loop of 24 steps of an MLP with Adam, each of which leaves a part of what it saved."""
    first, then = step(optimizer="adam"), step("lean", optimizer="adam")
    left = int(leak * then.saved_bytes / 8)
    state = then.persistent_bytes
    steps = [StepSummary.of(first, 0), *(StepSummary.of(then, n) for n in range(1, 24))]
    return steps_table(
        [
            replace(one, live_bytes=state + (n + 1) * left, peak_bytes=one.peak_bytes + n * left)
            for n, one in enumerate(steps)
        ]
    )


def curve():
    """Every plan of a deep network."""
    return mp.frontier(mp.MLP([64, *[128] * 12, 10]), batch=256)


POINTS = {"every layer twice": (3_000_000, 1.33)}


def two_loops():
    """One that leaks beside one that does not, on a dark style."""
    with plt.style.context("dark_background"):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.8), layout="constrained")
        mp.plot.steps(loop(), left)
        mp.plot.steps(loop(leak=0), right)
    return figure


def panel(draw):
    figure, axes = plt.subplots(figsize=(5.5, 2.8), layout="constrained")
    assert draw(axes) is axes
    return figure


def own_figure():
    """Several in one figure of the user's own, with a style of their own."""
    with plt.style.context("dark_background"):
        figure, grid = plt.subplots(2, 2, figsize=(9, 5.4), layout="constrained")
        mp.plot.timeline(step("sqrt"), grid[0, 0])
        mp.plot.lifetimes(step("lean"), grid[0, 1])
        mp.plot.compare(step(), step("lean"), grid[1, 0], names=("textbook", "lean"))
        mp.plot.breakdown({"lean": step("lean"), "adam": step(optimizer="adam")}, grid[1, 1])
    return figure


GALLERY = {
    "timeline": lambda: panel(lambda ax: mp.plot.timeline(step("sqrt"), ax)),
    "lifetimes": lambda: panel(lambda ax: mp.plot.lifetimes(step("sqrt"), ax)),
    "compare": lambda: panel(
        lambda ax: mp.plot.compare(
            step(), step("lean", optimizer="adam"), ax, names=("textbook", "lean, adam")
        )
    ),
    "breakdown": lambda: panel(
        lambda ax: mp.plot.breakdown(
            {
                "textbook": step(),
                "lean": step("lean"),
                "sqrt": step("sqrt"),
                "inference": step("inference", mode="inference"),
            },
            ax,
        )
    ),
    "breakdown_of_one": lambda: panel(lambda ax: mp.plot.breakdown(step("sqrt"), ax)),
    "frontier": lambda: panel(lambda ax: mp.plot.frontier(curve(), ax, points=POINTS)),
    "segments": lambda: panel(lambda ax: mp.plot.segments(on_a_gpu(), ax)),
    "reserved": lambda: panel(lambda ax: mp.plot.reserved(on_a_gpu(), ax)),
    "steps": lambda: panel(lambda ax: mp.plot.steps(loop(), ax)),
    "steps_of_two_loops": two_loops,
    "own_figure": own_figure,
}


def save(name, path):
    with plt.style.context(["default", STYLE]):
        figure = GALLERY[name]()
        figure.savefig(path, metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    for name in GALLERY:
        save(name, BASELINE / f"{name}.png")
