"""The pictures of docs/graph.md: python docs/examples/draw_graphs.py [FOLDER]."""

import sys
from pathlib import Path

import matplotlib

import memprop as mp

matplotlib.use("Agg")
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")

# The model of Dive into Deep Learning 5.3: one hidden layer, no bias, L2.
model = mp.MLP([20, 256, 10], bias=False, l2=0.1)
graph = model.graph()
graph.draw(folder / "graph_forward.png")
graph.draw(folder / "graph_backward.png", backward=True)

deep = mp.MLP([64, *[256] * 64, 10])
deep.graph().draw(folder / "graph_folded.png")

short = mp.MLP([64, *[256] * 4, 10], bias=False)
schedule = mp.schedule(short, batch=256, strategy="sqrt")
schedule.draw(folder / "graph_recomputing.png", fold=False)

print("forward:", graph.to_mermaid().count("-->"), "edges")
for name, runs in schedule.marks.runs.items():
    if runs > 1:
        print(name, "runs", runs, "times")
