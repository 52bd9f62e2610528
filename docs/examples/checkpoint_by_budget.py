"""A stack of uneven blocks whose training step is to fit into a budget.

Run it as ``python docs/examples/checkpoint_by_budget.py [FIGURE]``; with a path it draws the
figure.
"""

import sys

import matplotlib.pyplot as plt
import torch
from torch import nn

import memprop as mp
import memprop.torch as mpt


class Block(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.norm, self.drop = nn.LayerNorm(256), nn.Dropout(0.1)
        self.up, self.down = nn.Linear(256, inner), nn.Linear(inner, 256)

    def forward(self, x):
        return x + self.drop(self.down(torch.relu(self.up(self.norm(x)))))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(64, 256)
        self.blocks = nn.ModuleList([Block(inner) for inner in [256, 1024, 256, 2048, 512] * 2])
        self.head = nn.Linear(256, 10)

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


torch.manual_seed(0)
model, x, y = Model(), torch.randn(4096, 64), torch.randint(10, (4096,))
step = {"loss": nn.CrossEntropyLoss(), "target": y}

plain = mpt.simulate(model, x, **step)
print("everything kept: peak", mp.format_bytes(plain.peak))

planned = mpt.auto_checkpoint(model, x, budget="160 MiB", **step)
plan = planned.checkpoint_plan
print("predicted:       peak", mp.format_bytes(plan.attrs["predicted_peak"]))
traced = mpt.trace(planned, x, **step)
print("a real step:     peak", mp.format_bytes(traced.peak))
print(f"computed again:  {plan.attrs['slowdown'] - 1:.1%} of the FLOPs of the step\n")
columns = ["block", "runs", "keeps", "saved_bytes", "kept_bytes", "recomputed_flops"]
print(plan[columns].to_string(index=False))

try:
    mpt.auto_checkpoint(model, x, budget="64 MiB", **step)
except mp.InfeasibleBudget as error:
    print(f"\n{error}")

if len(sys.argv) > 1:
    figure, axes = plt.subplots(2, figsize=(10, 6.4), layout="constrained")
    for name, trace, ax in zip(("everything kept", "160 MiB"), (plain, traced), axes, strict=True):
        mp.plot.timeline(trace, ax, top=plain.peak * 1.3)
        ax.set_title(name, loc="left")
    axes[1].axhline(160 * 2**20, color="black", linestyle="--", linewidth=1)
    axes[1].get_legend().remove()
    figure.savefig(sys.argv[1], dpi=100)
