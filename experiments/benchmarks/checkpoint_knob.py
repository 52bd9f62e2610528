"""Recomputed FLOPs at the saved bytes that torch.compile's activation_memory_budget reaches.

For six modules and three settings of PyTorch's knob: the bytes that its partition of the step hands
from forward to backward, and the FLOPs that it computes again, counted in its graphs by memprop's
own formulas. Beside it the plan of memprop's planner that saves no more bytes, and what a real step
of it holds when its backward pass begins, as mpt.trace sees it.

Run: python -m experiments.benchmarks.checkpoint_knob [--out reports/checkpoint_knob]
"""

import argparse
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

import memprop.torch as mpt
from experiments.benchmarks.compiled_steps import compiled
from memprop import format_bytes
from memprop.errors import InfeasibleBudget
from memprop.torch.checkpoint.plan import CheckpointPlan
from memprop.torch.checkpoint.planning import planning

KNOBS = (0.5, 0.3, 0.1)


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        heads = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Gated(nn.Module):
    """Llama's feed-forward layer, with RMS norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.gate, self.up = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        self.down = nn.Linear(3 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class Convolutions(nn.Sequential):
    def __init__(self, before: int, after: int) -> None:
        parts: list[nn.Module] = []
        for channels in (before, after):
            parts += [nn.Conv2d(channels, after, 3, padding=1), nn.GroupNorm(4, after), nn.SiLU()]
        super().__init__(*parts)


class UNet(nn.Module):
    def __init__(
        self, width: int = 16, depth: int = 3, convolutions: Callable[..., Any] = Convolutions
    ) -> None:
        super().__init__()
        sizes = [width * 2**level for level in range(depth + 1)]
        self.first = convolutions(3, sizes[0])
        pairs = list(pairwise(sizes))
        self.down = nn.ModuleList([convolutions(a, b) for a, b in pairs])
        self.up = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs)])
        self.merge = nn.ModuleList([convolutions(2 * a, a) for a, _ in reversed(pairs)])
        self.last = nn.Conv2d(sizes[0], 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = [self.first(x)]
        for down in self.down:
            seen.append(down(functional.max_pool2d(seen[-1], 2)))
        x = seen.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([seen.pop(), up(x)], 1))
        return self.last(x)


def gpt() -> tuple[nn.Module, torch.Tensor]:
    return nn.Sequential(*[Block(256, 8) for _ in range(6)]), torch.randn(8, 256, 256)


def narrow() -> tuple[nn.Module, torch.Tensor]:
    return nn.Sequential(*[Block(64, 4) for _ in range(8)]), torch.randn(8, 512, 64)


def gated() -> tuple[nn.Module, torch.Tensor]:
    return nn.Sequential(*[Gated(256) for _ in range(8)]), torch.randn(4, 512, 256)


def mlp() -> tuple[nn.Module, torch.Tensor]:
    parts = [[nn.Linear(512, 512), nn.GELU(), nn.LayerNorm(512)] for _ in range(10)]
    return nn.Sequential(*[part for each in parts for part in each]), torch.randn(2048, 512)


def uneven() -> tuple[nn.Module, torch.Tensor]:
    widths = [256, 1024, 256, 2048, 512] * 2
    parts = [[nn.Linear(256, width), nn.SiLU(), nn.Linear(width, 256)] for width in widths]
    return nn.Sequential(*[part for each in parts for part in each]), torch.randn(2048, 256)


def unet() -> tuple[nn.Module, torch.Tensor]:
    return UNet(), torch.randn(2, 3, 64, 64)


MODELS: tuple[Callable[[], tuple[nn.Module, torch.Tensor]], ...] = (
    *(gpt, narrow, gated, mlp, uneven, unet),
)


def planned_within(module: nn.Module, x: torch.Tensor, saved: int) -> CheckpointPlan | None:
    """The cheapest plan that saves no more than so many bytes."""
    with planning(module, x) as step:
        found = step.candidates.within(saved, lambda outcome: outcome.saved_bytes)
        return None if found is None else step.plan(found, found.outcome.peak)


def flops_within(module: nn.Module, x: torch.Tensor, peak: int) -> float:
    """The FLOPs that a plan with this budget computes again; infinite if there is none."""
    try:
        return mpt.auto_checkpoint(module, x, peak).plan.recomputed_flops
    except InfeasibleBudget:
        return math.inf


def held(module: nn.Module, x: torch.Tensor, plan: CheckpointPlan) -> int:
    """What a real step holds when backward begins and did not hold before, but for its output."""
    trace = mpt.trace(plan.apply(module), x)
    module.zero_grad()
    backward = int(np.argmax(trace.events.phase == trace.phases.index("backward")))
    forward = int(np.argmax(trace.events.phase == trace.phases.index("forward")))
    return int(trace.live.total[backward - 1] - trace.live.total[forward])


def rows() -> pd.DataFrame:
    found = []
    for make in MODELS:
        torch.manual_seed(0)
        module, x = make()
        plain = compiled(module, x, knob=None)
        for knob in KNOBS:
            theirs = compiled(module, x, knob)
            ours = planned_within(module, x, theirs.saved_bytes)
            peak = mpt.trace_step(theirs.run).peak
            module.zero_grad()
            found.append(
                {
                    "model": make.__name__,
                    "knob": knob,
                    "saved_bytes": theirs.saved_bytes,
                    "flops": theirs.flops - plain.flops,
                    "our_saved_bytes": None if ours is None else ours.saved_bytes,
                    "our_traced_bytes": None if ours is None else held(module, x, ours),
                    "our_flops": None if ours is None else ours.recomputed_flops,
                    "peak": peak,
                    "our_flops_at_peak": flops_within(module, x, peak),
                }
            )
            print(found[-1], flush=True)
    return pd.DataFrame(found)


def report(table: pd.DataFrame) -> str:
    shown = table.copy()
    for column in ("saved_bytes", "our_saved_bytes", "our_traced_bytes", "peak"):
        shown[column] = [format_bytes(int(size)) for size in shown[column]]
    for column in ("flops", "our_flops", "our_flops_at_peak"):
        shown[column] = [f"{flops / 1e6:,.1f}" for flops in shown[column]]
    fewer = int((table["our_flops"] < table["flops"]).sum())
    no_more = int((table["our_flops"] <= table["flops"]).sum())
    at_peak = int((table["our_flops_at_peak"] <= table["flops"]).sum())
    return f"""# auto_checkpoint beside torch.compile's activation_memory_budget

Six modules, three settings of PyTorch's knob; PyTorch {torch.__version__} on the CPU, float32.
Written by `python -m experiments.benchmarks.checkpoint_knob --out reports/checkpoint_knob`.

At the bytes that the knob's partition saves for the backward pass, memprop's plan computes no more
MFLOPs again in {no_more} of {len(table)} cases, fewer in {fewer}. At the peak that its graphs
reach, run operator by operator and traced, it computes no more again in {at_peak} of {len(table)}
(`inf` is where no plan of an eager step has that peak).

- `saved_bytes`, `flops`: what the knob's forward graph hands to its backward graph, and the MFLOPs
  that its graphs have beyond those of a partition that computes nothing again.
- `our_saved_bytes`, `our_flops`: of memprop's plan that saves no more; `our_traced_bytes`: what a
  real step of it held when backward began, and did not hold before the forward pass.
- `peak`: live bytes of the knob's graphs; `our_flops_at_peak`: of memprop's plan with that budget.

```text
{shown.to_string(index=False)}
```
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="auto_checkpoint beside activation_memory_budget")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    table = rows()
    print(report(table))
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(asked.out / "results.csv", index=False)
        (asked.out / "README.md").write_text(report(table), encoding="utf-8")


if __name__ == "__main__":
    main()
