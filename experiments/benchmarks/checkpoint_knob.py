"""Recomputed FLOPs at the saved bytes that torch.compile's activation_memory_budget reaches.

For six modules and three settings of PyTorch's knob: the bytes that its partition of the step hands
from forward to backward, and the FLOPs that it computes again, counted in its graphs by memprop's
own formulas. Beside it the plan of memprop's planner that saves no more bytes, and what a real step
of it holds when its backward pass begins, as mpt.trace sees it.

Run: python experiments/benchmarks/checkpoint_knob.py [--out reports/checkpoint_knob]
"""

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch._functorch.config as functorch_config
from torch import fx, nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch._aot_autograd.utils import make_boxed_func
from torch._functorch.partitioners import default_partition, min_cut_rematerialization_partition
from torch.fx.node import map_arg
from torch.nn import functional

import memprop.torch as mpt
from memprop import format_bytes
from memprop.torch.checkpoint.plan import CheckpointPlan
from memprop.torch.checkpoint.planning import planning
from memprop.torch.record.flops import flops_of

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
    def __init__(self, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        sizes = [width * 2**level for level in range(depth + 1)]
        self.first = Convolutions(3, sizes[0])
        pairs = list(pairwise(sizes))
        self.down = nn.ModuleList([Convolutions(a, b) for a, b in pairs])
        self.up = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs)])
        self.merge = nn.ModuleList([Convolutions(2 * a, a) for a, _ in reversed(pairs)])
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


def flops_in(graph: fx.GraphModule) -> int:
    """The FLOPs of the operators in a graph."""
    found = 0
    for node in graph.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        if node.target.is_view:
            continue
        args, kwargs = map_arg((node.args, node.kwargs), lambda one: one.meta["val"])
        found += flops_of(node.target, args, kwargs, node.meta["val"])
    return found


def partitioned(module: nn.Module, x: torch.Tensor, divide: Callable[..., Any]) -> tuple[int, int]:
    """The bytes that a compiled step saves, and its FLOPs."""
    found: list[tuple[int, int]] = []

    def partition(joint: fx.GraphModule, inputs: Any, **options: Any) -> Any:
        forward, backward = divide(joint, inputs, **options)
        (output,) = (node for node in forward.graph.nodes if node.op == "output")
        kept = [n for n in output.args[0][1:] if n.op == "call_function"]
        sizes = {n: n.meta["val"].nbytes for n in kept if isinstance(n.meta["val"], torch.Tensor)}
        found.append((sum(sizes.values()), flops_in(forward) + flops_in(backward)))
        return forward, backward

    def boxed(graph: fx.GraphModule, _: Any) -> Any:
        return make_boxed_func(graph.forward)

    torch._dynamo.reset()
    backend = aot_autograd(fw_compiler=boxed, bw_compiler=boxed, partition_fn=partition)
    torch.compile(module, backend=backend)(x).sum().backward()
    ((saved, flops),) = found
    return saved, flops


def planned_within(module: nn.Module, x: torch.Tensor, saved: int) -> CheckpointPlan | None:
    """The cheapest plan that saves no more than so many bytes."""
    with planning(module, x) as step:
        found = step.candidates.within(saved, lambda outcome: outcome.saved_bytes)
        return None if found is None else step.plan(found, found.outcome.peak)


def held(module: nn.Module, x: torch.Tensor, plan: CheckpointPlan) -> int:
    """What a real step holds when backward begins and did not hold before, but for its output."""
    trace = mpt.trace(plan.apply(module), x)
    backward = int(np.argmax(trace.events.phase == trace.phases.index("backward")))
    forward = int(np.argmax(trace.events.phase == trace.phases.index("forward")))
    return int(trace.live.total[backward - 1] - trace.live.total[forward])


def rows() -> pd.DataFrame:
    found = []
    for make in MODELS:
        torch.manual_seed(0)
        module, x = make()
        _, plain = partitioned(module, x, default_partition)
        for knob in KNOBS:
            with functorch_config.patch(activation_memory_budget=knob):
                saved, flops = partitioned(module, x, min_cut_rematerialization_partition)
            ours = planned_within(module, x, saved)
            found.append(
                {
                    "model": make.__name__,
                    "knob": knob,
                    "saved": format_bytes(saved),
                    "their FLOPs": flops - plain,
                    "our saved": "none" if ours is None else format_bytes(ours.saved_bytes),
                    "our FLOPs": None if ours is None else ours.recomputed_flops,
                    "our traced": "none" if ours is None else format_bytes(held(module, x, ours)),
                }
            )
            print(found[-1], flush=True)
    return pd.DataFrame(found)


def main() -> None:
    parser = argparse.ArgumentParser(description="auto_checkpoint beside activation_memory_budget")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    table = rows()
    print(table.to_string(index=False))
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(asked.out / "results.csv", index=False)


if __name__ == "__main__":
    main()
