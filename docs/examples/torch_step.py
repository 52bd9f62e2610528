"""One training step of a transformer in PyTorch: predicted, traced, and with checkpoints.

Run it as ``python docs/examples/torch_step.py [FIGURE]``; with a path it draws the figure.
"""

import sys

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import memprop as mp
import memprop.torch as mpt


class Encoder(nn.Module):
    def __init__(self, recompute=False):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True) for _ in range(4)
        )
        self.head = nn.Linear(256, 10)
        self.recompute = recompute

    def forward(self, x):
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False) if self.recompute else layer(x)
        return self.head(x.mean(1))


torch.manual_seed(0)
x, y = torch.randn(16, 128, 256), torch.randint(10, (16,))
step = {"loss": nn.CrossEntropyLoss(), "target": y, "optimizer": torch.optim.AdamW}

print("predicted, then run")
model = Encoder()
predicted = mpt.simulate(model, x, **step)
traced = mpt.trace(model, x, **step)
print(predicted == traced, traced.peak, "bytes at", traced.peak_operator)
for category, size in traced.peak_by_category().items():
    print(f"  {category:20} {mp.format_bytes(size):>10}")

print("\nwhat the first layer keeps for backward")
table = traced.intermediates()
first = table[table["site"].str.startswith("layers.0")]
print(first[["variable", "shape", "bytes", "reuses"]].to_string(index=False))

print("\nfour layers, as they are and with a checkpoint each")
recomputing = mpt.simulate(Encoder(recompute=True), x, **step)
for name, trace in (("as they are", predicted), ("checkpointed", recomputing)):
    kept, peak = mp.format_bytes(trace.saved_bytes), mp.format_bytes(trace.peak)
    print(f"{name:13} keep {kept:>9}, peak {peak:>9} at {trace.peak_operator}")

if len(sys.argv) > 1:
    figure, axes = plt.subplots(2, figsize=(10, 7.5), layout="constrained")
    mp.plot.timeline(predicted, axes[0], top=1.25 * predicted.peak)
    mp.plot.timeline(recomputing, axes[1], top=1.25 * predicted.peak)
    axes[0].set_title("as they are", loc="left")
    axes[1].set_title("a checkpoint for each layer", loc="left")
    axes[1].get_legend().remove()
    figure.savefig(sys.argv[1], dpi=100)
