"""Forward propagation, backward propagation, and where each formula's bytes are.

Run it as ``python docs/examples/textbook_section.py [FIGURE]``; with a path it draws the figure.
"""

import sys

import numpy as np

import memprop as mp

n, d, h, q = 256, 20, 64, 10  # samples, inputs, hidden units, outputs
rng = np.random.default_rng(0)
x, y = rng.normal(size=(n, d)).astype("float32"), rng.integers(0, q, n)
model = mp.MLP([d, h, q], activation="relu", bias=False, l2=0.1)
trace = mp.trace(model, x, y, schedule="textbook")


def ledger(trace, phases):
    """A line for each operator: what it reads, and what it writes with its bytes."""
    rows = trace.timeline()
    for operator, events in rows[rows["phase"].isin(phases)].groupby("operator", sort=False):
        if not operator or ":" in operator:
            continue
        reads = events["variable"][events["kind"] == "read"]
        born = events[(events["kind"] == "allocate") & ~events["variable"].str.contains(":")]
        writes = [f"{v} {b:,}" for v, b in zip(born["variable"], born["bytes"], strict=True)]
        print(f"{operator:17} reads {', '.join(reads):14} writes {', '.join(writes)}")


print("forward propagation")
ledger(trace, ["forward", "loss"])

print("\nbackward propagation")
ledger(trace, ["backward"])

print("\nwhat backward reuses")
columns = ["variable", "bytes", "saved_by", "reused_by"]
print(trace.intermediates()[columns].to_string(index=False))

print("\ntraining and inference")
training, inference = (
    mp.simulate(model, batch=n, schedule="textbook"),
    mp.simulate(model, batch=n, mode="inference"),
)
for name, step in (("training", training), ("inference", inference)):
    parts = {k: v for k, v in step.peak_by_category().items() if v}
    print(f"{name:10} {step.peak:7,} bytes:", ", ".join(f"{k} {v:,}" for k, v in parts.items()))

print("\nthe gradients are those of the formulas")
W1, W2 = model.parameters["W1"], model.parameters["W2"]
z = x @ W1.T
hidden = np.maximum(z, 0)
o = hidden @ W2.T
do = (np.exp(o) / np.exp(o).sum(1, keepdims=True) - np.eye(q)[y]) / n
grad_W2 = do.T @ hidden + 0.1 * W2
dz = (do @ W2) * (z > 0)
grad_W1 = dz.T @ x + 0.1 * W1
for name, formula in (("W1", grad_W1), ("W2", grad_W2)):
    print(name, np.allclose(trace.outputs["gradients"][name], formula, rtol=1e-4, atol=1e-6))

if len(sys.argv) > 1:
    trace.plot().figure.savefig(sys.argv[1], dpi=100)
