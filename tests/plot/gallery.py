"""The pictures of the gallery; run as a script, it draws their baselines anew: look at them."""

from pathlib import Path

import matplotlib.pyplot as plt

import memprop as mp

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
