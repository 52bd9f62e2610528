"""FSDP2 over 1 to 1,024 ranks: what one of them needs, predicted on one machine.

The transformer of seven billion parameters of ``torch_models.py``, every block sharded, with
parameters in float32 that are gathered in bfloat16, and AdamW; a step as all after the first.
Nothing is allocated. Writes a table, a figure and a page to reports/ranks.

Run: python -m experiments.benchmarks.ranks
"""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn import functional

import memprop.torch as mpt
from experiments.benchmarks.torch_models import GPT, SEVEN_BILLION
from memprop.terms import CATEGORIES
from memprop.traces.colors import CATEGORY_COLORS
from memprop.units import format_bytes

OUT = Path(__file__).parents[2] / "reports" / "ranks"
RANKS = tuple(2**power for power in range(11))
WORDS = 2048


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(output.flatten(0, 1).float(), target.flatten())


def sharded(ranks: int) -> nn.Module:
    """The model as a rank of so many has it: a shard of every parameter."""
    mesh = init_device_mesh("cpu", (ranks,))
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    with torch.device("meta"):
        model = GPT(SEVEN_BILLION)
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    return model


def row(ranks: int) -> dict[str, Any]:
    """One step of the first of so many ranks."""
    words = torch.zeros(1, WORDS, dtype=torch.long)
    with mpt.pretend_ranks(ranks):
        trace = mpt.simulate(
            *(sharded(ranks), words),
            loss=loss,
            target=words,
            optimizer=torch.optim.AdamW,
            warmup=1,
        )
    print(f"{ranks} ranks: {format_bytes(trace.peak)}", flush=True)
    return {
        "ranks": ranks,
        "peak": trace.peak,
        **trace.peak_by_category(),
        "persistent": trace.persistent_bytes,
        "peak_operator": trace.peak_operator,
    }


def figure(table: pd.DataFrame) -> Figure:
    """The peak of one rank by category, a bar for each number of ranks."""
    drawn = Figure(figsize=(9, 4.5), layout="constrained")
    axes = drawn.subplots()
    below = pd.Series(0.0, index=table.index)
    for name, color in CATEGORY_COLORS.items():
        height = table[name] / 2**30
        if height.any():
            label = name.replace("_", " ")
            axes.bar(
                table["ranks"].map("{:,}".format), height, bottom=below, color=color, label=label
            )
            below += height
    for place, peak in enumerate(below):
        axes.text(place, peak, f"{peak:.1f}", ha="center", va="bottom", fontsize=9)
    axes.set(xlabel="ranks", ylabel="GiB at the peak of one rank")
    axes.set_title("FSDP2: 7 billion parameters, mixed precision, AdamW, 2,048 words per rank")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return drawn


def page(table: pd.DataFrame) -> str:
    """The page beside the table."""
    names = [name for name in CATEGORIES if table[name].any()]
    head = ["ranks", "peak", *(name.replace("_", " ") for name in names), "at"]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    for _, one in table.iterrows():
        sizes = [format_bytes(int(one[name])) for name in ("peak", *names)]
        cells = [f"{one['ranks']:,}", *sizes, one["peak_operator"]]
        lines.append(f"| {' | '.join(cells)} |")
    return f"""# FSDP2 over 1 to 1,024 ranks

`python -m experiments.benchmarks.ranks` writes this page, `peaks.csv` and `peaks.png`. PyTorch
{torch.__version__}; nothing is allocated, and no other rank is there.

A transformer of 32 layers, width 4096, 32,000 words: 7 billion parameters in float32, every block
sharded by `fully_shard`, gathered in bfloat16 and reduced in float32; AdamW; 2,048 words on each
rank; a step as all after the first.

![The peak of one rank by category](peaks.png)

{chr(10).join(lines)}

What is sharded falls as the ranks grow in number. What is left is what every rank has for itself:
activations, the unsharded parameters and gradients of the blocks that run, and the buffers through
which they are gathered and reduced. That such predictions are exact is tested for 2 and 4 real
ranks (`tests/torch_adapter/test_torch_ranks.py`).
"""


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(map(row, RANKS))
    table.to_csv(OUT / "peaks.csv", index=False)
    figure(table).savefig(OUT / "peaks.png", dpi=150)
    (OUT / "README.md").write_text(page(table))


if __name__ == "__main__":
    main()
