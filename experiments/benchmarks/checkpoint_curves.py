"""Memory against time for a GPT and a U-Net: auto_checkpoint's curve with other ways as points.

The points are the plain step, one with a checkpoint around every block, and PyTorch's
activation_memory_budget of 0.5, 0.3 and 0.1, whose graphs run operator by operator. Their peaks are
traced. Time is FLOPs in one row of the figure and seconds in the other: those of the curve are
predicted from operators that were measured one by one, those of the points are medians of real
steps, in turns with the plain step (for the knob, with graphs that compute nothing again). Crosses
are real steps of plans on the curve.

Run: python -m experiments.benchmarks.checkpoint_curves [--out docs/images/checkpoint_curves.png]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import memprop as mp
import memprop.torch as mpt
from experiments.benchmarks.checkpoint_knob import KNOBS, Block, Convolutions, UNet
from experiments.benchmarks.compiled_steps import compiled
from memprop.torch.record.flops import flops_of

REPEATS = 9
MEASURED = 4
"""Plans of a curve whose steps are measured."""


def gpt() -> tuple[nn.Module, torch.Tensor]:
    return nn.Sequential(*[Block(256, 8) for _ in range(6)]), torch.randn(8, 256, 256)


def unet() -> tuple[nn.Module, torch.Tensor]:
    return UNet(), torch.randn(8, 3, 128, 128)


def with_checkpoints(module: nn.Module) -> nn.Module:
    """The module with a checkpoint around every block, as one writes it by hand."""
    for block in module.modules():
        if isinstance(block, Block | Convolutions):
            inner = block.forward
            vars(block)["forward"] = lambda *args, inner=inner: checkpoint(
                inner, *args, use_reentrant=False
            )
    return module


def step_of(module: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    def step() -> None:
        module.zero_grad()
        module(x).sum().backward()

    return step


def slowdowns(plain: Callable[[], None], steps: Sequence[Callable[[], None]]) -> list[float]:
    """How long steps take, as multiples of a plain one that runs in turns with them."""
    every = [plain, *steps]
    times: list[list[float]] = [[] for _ in every]
    for repeat in range(REPEATS + 1):
        for step, taken in zip(every, times, strict=True):
            begin = time.perf_counter()
            step()
            if repeat:
                taken.append(time.perf_counter() - begin)
    first, *others = [statistics.median(taken) for taken in times]
    return [other / first for other in others]


NAMES = {gpt: "GPT", unet: "U-Net"}
TIMES = {"flops": "time in FLOPs", "seconds": "time in seconds"}


class Flops(TorchDispatchMode):
    """Counts the FLOPs of all that runs inside the block, by memprop's formulas."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.count += flops_of(func, args, kwargs or {}, result)
        return result


def flops(step: Callable[[], None]) -> int:
    with Flops() as counting:
        step()
    return counting.count


def draw(make: Callable[[], tuple[nn.Module, torch.Tensor]], above: Axes, below: Axes) -> None:
    """The curve and the points of one model, in FLOPs and in seconds."""
    torch.manual_seed(0)
    module, x = make()
    by_hand = with_checkpoints(make()[0])
    plain, blocks = step_of(module, x), step_of(by_hand, x)
    whole = compiled(module, x, knob=None).run
    knobs = [compiled(module, x, knob).run for knob in KNOBS]

    names = ["plain", "a checkpoint around every block"]
    names += [f"activation_memory_budget {knob}" for knob in KNOBS]
    peaks = [mpt.trace(module, x).peak, mpt.trace(by_hand, x).peak]
    peaks += [mpt.trace_step(knob).peak for knob in knobs]
    in_flops = [1.0, flops(blocks) / flops(plain)]
    in_flops += [1 + (flops(knob) - flops(whole)) / flops(plain) for knob in knobs]
    in_seconds = [1.0, *slowdowns(plain, [blocks]), *slowdowns(whole, knobs)]
    module.zero_grad()

    for axes, cost, heights in ((above, "flops", in_flops), (below, "seconds", in_seconds)):
        curve = mpt.frontier(module, x, cost=cost, points=48)
        points = dict(zip(names, zip(peaks, heights, strict=True), strict=True))
        mp.plot.frontier(curve, axes, points=points, label="auto_checkpoint")
        axes.set_title(f"{NAMES[make]}, {TIMES[cost]}", loc="left")
        axes.get_legend().remove()
        print(make.__name__, cost, points, flush=True)
    places = [round(part * (len(curve) - 1) / MEASURED) for part in range(MEASURED)]
    plans = [curve["plan"].iloc[place] for place in places]
    taken = slowdowns(plain, [step_of(plan.apply(module), x) for plan in plans])
    below.plot([plan.peak for plan in plans], taken, "kx", label="auto_checkpoint, measured")
    print([(plan.peak, plan.slowdown) for plan in plans], taken, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="auto_checkpoint's curves")
    parser.add_argument("--out", type=Path, default=Path("docs/images/checkpoint_curves.png"))
    asked = parser.parse_args()
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    for make, column in zip((gpt, unet), range(2), strict=True):
        draw(make, axes[0][column], axes[1][column])
    handles, labels = axes[1][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(asked.out, dpi=100)


if __name__ == "__main__":
    main()
