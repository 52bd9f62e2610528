"""A transformer of 24 blocks at 100 to 10 % of its activation memory.

For each budget: the peak that auto_checkpoint predicts, the peak of a real step as memprop traces
it and as the kernel sees it (the growth of resident memory over a step in a process of its own,
plus the parameters and inputs that were there), and the time of a step, in turns with the plain
model.

Run: python experiments/benchmarks/auto_checkpoint.py [--out reports/auto_checkpoint]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

import memprop.torch as mpt
from memprop import format_bytes
from memprop.plot import timeline
from memprop.probes import kernel

BLOCKS, WIDTH, HEADS, LENGTH, BATCH = 24, 256, 8, 256, 8
SHARES = (100, 60, 40, 20, 10)
REPEATS = 5


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        heads = self.qkv(self.norm1(x)).view(batch, length, 3, HEADS, width // HEADS)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.drop(self.out(seen.transpose(1, 2).reshape(batch, length, width)))
        return x + self.drop(self.down(functional.gelu(self.up(self.norm2(x)))))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(1000, WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(BLOCKS)])
        self.head = nn.Linear(WIDTH, 1000)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def loss(output: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(output.flatten(0, 1), tokens.flatten())


def model_and_tokens() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return Transformer(), torch.randint(1000, (BATCH, LENGTH))


def budget_at(share: int, module: nn.Module, tokens: torch.Tensor) -> int:
    """The bytes of a step with this share, in per cent, of the activations it would keep."""
    plain = mpt.simulate(module, tokens, loss=loss, target=tokens)
    return plain.peak - plain.saved_bytes * (100 - share) // 100


def step(module: nn.Module, tokens: torch.Tensor) -> None:
    module.zero_grad()
    output = module(tokens)
    loss(output, tokens).backward()


def seconds(modules: list[nn.Module], tokens: torch.Tensor) -> list[float]:
    """The median time of a step of each, in turns."""
    times: list[list[float]] = [[] for _ in modules]
    for _ in range(REPEATS):
        for module, taken in zip(modules, times, strict=True):
            begin = time.perf_counter()
            step(module, tokens)
            taken.append(time.perf_counter() - begin)
            module.zero_grad()
    return [statistics.median(taken) for taken in times]


def kernel_peak(share: int) -> int | None:
    """What the kernel sees of a step in a new process, what is there before it included."""
    command = [sys.executable, __file__, "--kernel", str(share)]
    environment = {**os.environ, **kernel.ENVIRONMENT}
    done = subprocess.run(  # noqa: S603 - this very script
        command, env=environment, capture_output=True, check=True, text=True
    )
    return json.loads(done.stdout)


def measure_kernel(share: int) -> int | None:
    module, tokens = model_and_tokens()
    planned = mpt.auto_checkpoint(
        module, tokens, budget_at(share, module, tokens), loss=loss, target=tokens
    )
    before = sum(p.nbytes for p in module.parameters()) + tokens.nbytes

    def once() -> None:
        step(planned, tokens)
        planned.zero_grad()

    grown = kernel.measure(once)
    return None if grown is None else grown + before


def rows() -> pd.DataFrame:
    module, tokens = model_and_tokens()
    found, planned = [], []
    for share in SHARES:
        budget = budget_at(share, module, tokens)
        begin = time.perf_counter()
        planned.append(mpt.auto_checkpoint(module, tokens, budget, loss=loss, target=tokens))
        plan = planned[-1].plan
        found.append(
            {
                "share": share,
                "budget_bytes": budget,
                "predicted_peak": plan.peak,
                "planning_seconds": time.perf_counter() - begin,
                "predicted_slowdown": plan.slowdown,
            }
        )
        traced = mpt.trace(planned[-1], tokens, loss=loss, target=tokens)
        found[-1]["traced_peak"] = traced.peak
        found[-1]["kernel_peak"] = kernel_peak(share)
        module.zero_grad()
    times = seconds([module, *planned], tokens)
    for row, taken in zip(found, times[1:], strict=True):
        row["step_seconds"], row["slowdown"] = taken, taken / times[0]
    return pd.DataFrame(found)


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.copy()
    for column in ("budget_bytes", "predicted_peak", "traced_peak", "kernel_peak"):
        shown[column] = [format_bytes(int(size)) for size in shown[column]]
    for column in ("planning_seconds", "predicted_slowdown", "step_seconds", "slowdown"):
        shown[column] = shown[column].map("{:.2f}".format)
    return shown


def report(table: pd.DataFrame) -> str:
    return (
        "# auto_checkpoint on a transformer of 24 blocks\n\n"
        f"Width {WIDTH}, {HEADS} heads, {BATCH} sequences of {LENGTH} tokens, float32, dropout 0.1;"
        f"\nPyTorch {torch.__version__} on {torch.get_num_threads()} CPU threads. Written by\n"
        "`python experiments/benchmarks/auto_checkpoint.py --out reports/auto_checkpoint`.\n\n"
        "`share` is how much of the activations that the plain step keeps the budget leaves room "
        "for, in per cent;\n`slowdown` is against the plain module, and predicted by FLOPs.\n\n"
        f"```text\n{as_text(table).to_string(index=False)}\n```\n\n"
        "![Live bytes over the step at each budget](timelines.png)\n"
    )


def draw(path: Path) -> None:
    module, tokens = model_and_tokens()
    figure, axes = plt.subplots(len(SHARES), figsize=(10, 13), layout="constrained")
    for share, ax in zip(SHARES, axes, strict=True):
        budget = budget_at(share, module, tokens)
        planned = mpt.auto_checkpoint(module, tokens, budget, loss=loss, target=tokens)
        trace = mpt.simulate(planned, tokens, loss=loss, target=tokens)
        top = 1.55 * budget_at(100, module, tokens)
        timeline(trace, ax, top=top)
        ax.axhline(budget, color="black", linestyle="--", linewidth=1)
        ax.set_title(f"{share} % of the activations: budget {format_bytes(budget)}", loc="left")
        if ax is not axes[0]:
            ax.get_legend().remove()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--kernel", type=int)
    asked = parser.parse_args()
    if asked.kernel is not None:
        print(json.dumps(measure_kernel(asked.kernel)))
        return
    table = rows()
    print(as_text(table).to_string(index=False))
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(asked.out / "results.csv", index=False)
        (asked.out / "README.md").write_text(report(table), encoding="utf-8")
        draw(asked.out / "timelines.png")


if __name__ == "__main__":
    main()
