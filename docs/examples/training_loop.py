"""A GAN that keeps more than it should: python docs/examples/training_loop.py [FIGURE]."""

import sys

import pandas as pd
import torch
from torch import nn

import memprop as mp
import memprop.torch as mpt

pd.set_option("display.width", 120, "display.max_columns", 12)
torch.manual_seed(0)

G = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 784))
D = nn.Sequential(nn.Linear(784, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1))
og = torch.optim.Adam(G.parameters())
od = torch.optim.Adam(D.parameters())
bce = nn.BCEWithLogitsLoss()
ones, zeros = torch.ones(128, 1), torch.zeros(128, 1)
history = []


def train_step(real):
    fake = G(torch.randn(128, 64))
    od.zero_grad()
    loss_d = bce(D(real), ones) + bce(D(fake.detach()), zeros)
    loss_d.backward()
    od.step()
    og.zero_grad()
    loss_g = bce(D(fake), ones)
    loss_g.backward()
    og.step()
    history.append(fake)  # to look at later


with mpt.profile() as prof:
    for _ in range(5):
        train_step(torch.randn(128, 784))
        prof.step()

sizes = dict.fromkeys(["bytes", "peak_bytes", "live_bytes", "growth_bytes"], mp.format_bytes)
steps = prof.steps()[["step", "peak_bytes", "peak_operator", "live_bytes", "growth_bytes"]]
print(steps.to_string(index=False, formatters=sizes))
growth = prof.growth()[["bytes", "count", "steps", "operator", "module", "line"]]
print(growth.to_string(index=False, formatters=sizes))

timeline = prof.trace.timeline()
peaks = timeline.groupby("phase", sort=False)["live_bytes"].max().map(mp.format_bytes)
print(peaks.rename("at most alive").to_string())

axes = prof.trace.plot()

if len(sys.argv) > 1:
    axes.figure.savefig(sys.argv[1], dpi=110)
