"""PyTorch models under every witness: simulated, traced, MemTracker, the CPU allocator.

Also a transformer of seven billion parameters, simulated; and one MLP in memprop's engine, in
PyTorch and, where it is installed, in JAX. Writes tables to reports/torch.

Run: python experiments/benchmarks/torch_models.py
"""

import importlib.util
import platform
import resource
import time
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

import memprop as mp
import memprop.torch as mpt

OUT = Path(__file__).parents[2] / "reports" / "torch"


@dataclass(frozen=True)
class Size:
    width: int
    heads: int
    hidden: int
    layers: int
    words: int


SEVEN_BILLION = Size(width=4096, heads=32, hidden=11008, layers=32, words=32000)


class Block(nn.Module):
    """A layer of a language model: attention, and an MLP with a gate."""

    def __init__(self, size: Size):
        super().__init__()
        self.heads, width = size.heads, size.width
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(width, size.hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(size.hidden, width, bias=False)

    def attention(self, x):
        batch, length, width = x.shape
        shape = (batch, length, self.heads, width // self.heads)
        q, k, v = (part(x).view(shape).transpose(1, 2) for part in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(x.shape))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y = self.norm2(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class GPT(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.embedding = nn.Embedding(size.words, size.width)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, size.words, bias=False)

    def forward(self, ids):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def next_word_loss(output, ids):
    return functional.cross_entropy(output.flatten(0, 1), ids.flatten())


def simulate_gpt(size: Size, batch: int, time: int) -> mp.Trace:
    """A step of AdamW in bfloat16, as every step after the first is."""
    ids = torch.empty(batch, time, dtype=torch.long, device="meta")
    return mpt.simulate(
        lambda: GPT(size).to(torch.bfloat16),
        ids,
        loss=next_word_loss,
        target=ids,
        optimizer=torch.optim.AdamW,
        warmup=1,
    )


def mlp():
    layers = (nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    return nn.Sequential(*layers), torch.randn(256, 64), torch.randint(10, (256,))


def cnn():
    layers = (
        *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 8 * 8, 10)),
    )
    return nn.Sequential(*layers), torch.randn(64, 3, 32, 32), torch.randint(10, (64,))


def transformer_block():
    size = Size(width=256, heads=4, hidden=1024, layers=1, words=10)
    layers = (Block(size), nn.Flatten(), nn.Linear(128 * 256, 10))
    return nn.Sequential(*layers), torch.randn(16, 128, 256), torch.randint(10, (16,))


MODELS = {"MLP": mlp, "CNN": cnn, "transformer block": transformer_block}
OPTIMIZERS = {"none": None, "AdamW": torch.optim.AdamW}


def build(name):
    torch.manual_seed(0)
    return MODELS[name]()


def step(module, x, y, optimizer):
    output = module(x)
    loss = functional.cross_entropy(output, y)
    loss.backward()
    if optimizer is not None:
        optimizer.step()
    return output, loss


def tracker_peak(module, x, y, optimizer) -> int:
    tracker = MemTracker()
    tracker.track_external(module, x, y, *filter(None, [optimizer]))
    with tracker:
        held = step(module, x, y, optimizer)
        del held
    (on_cpu,) = tracker.get_tracker_snapshot("peak").values()
    return on_cpu["Total"]


def allocator_peak(module, x, y, optimizer) -> int:
    """What the CPU allocator handed out at its peak, beside what was there before."""
    given = sum(t.nbytes for t in (*module.parameters(), *module.buffers(), x, y))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        held = step(module, x, y, optimizer)
    del held
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return given + max(accumulate(event.nbytes() for event in events))


def measured(name: str, optimizer: str) -> dict:
    kind = OPTIMIZERS[optimizer]
    options = {"loss": nn.CrossEntropyLoss(), "optimizer": kind}

    def witness(peak):
        module, x, y = build(name)
        return peak(module, x, y, None if kind is None else kind(module.parameters()))

    module, x, y = build(name)
    simulated = mpt.simulate(module, x, target=y, **options)
    traced = mpt.trace(module, x, target=y, **options)
    return {
        "model": name,
        "optimizer": optimizer,
        "parameters": sum(p.numel() for p in module.parameters()),
        "simulated_peak": simulated.peak,
        "traced_peak": traced.peak,
        "mem_tracker_peak": witness(tracker_peak),
        "allocator_peak": witness(allocator_peak),
        "peak_operator": traced.peak_operator,
        "saved_bytes": traced.saved_bytes,
        "saved_count": len(traced.saved),
    }


def seven_billion() -> dict:
    begin = time.perf_counter()
    trace = simulate_gpt(SEVEN_BILLION, batch=1, time=2048)
    seconds = time.perf_counter() - begin
    parameters = sum(v.bytes for v in trace.variables if v.category == "parameter") // 2
    return {
        "parameters": parameters,
        "peak": trace.peak,
        **trace.peak_by_category(),
        "saved_bytes": trace.saved_bytes,
        "peak_operator": trace.peak_operator,
        "seconds": round(seconds, 1),
        "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def same_mlp() -> dict[str, mp.Trace]:
    """One step of one MLP (64, 256, 256, 10; relu; cross-entropy; batch 256) everywhere."""
    model = mp.MLP([64, 256, 256, 10], activation="relu", loss="cross_entropy")
    module, x, y = mlp()
    traces = {
        "memprop, textbook": mp.simulate(model, batch=256, schedule="textbook"),
        "memprop, lean": mp.simulate(model, batch=256, schedule="lean"),
        "torch": mpt.simulate(module, x, loss=nn.CrossEntropyLoss(), target=y),
    }
    if importlib.util.find_spec("jax") and importlib.util.find_spec("memprop.jax"):
        traces["jax"] = _in_jax(model, x.numpy(), y.numpy())
    return traces


def _in_jax(model: mp.MLP, x: np.ndarray, y: np.ndarray) -> mp.Trace:
    import jax
    import jax.numpy as jnp

    import memprop.jax as mpj

    def loss(parameters, x, y):
        for layer in (1, 2):
            x = jax.nn.relu(x @ parameters[f"W{layer}"].T + parameters[f"b{layer}"])
        scores = jax.nn.log_softmax(x @ parameters["W3"].T + parameters["b3"])
        return -jnp.mean(jnp.take_along_axis(scores, y[:, None], axis=1))

    return mpj.simulate(loss, dict(model.parameters), x, y, compile=False)


def side_by_side(traces: dict[str, mp.Trace]) -> pd.DataFrame:
    rows = [
        {
            "engine": engine,
            "peak": trace.peak,
            "saved_bytes": trace.saved_bytes,
            "saved": ", ".join(f"{kept.variable} {kept.bytes:,}" for kept in trace.saved),
        }
        for engine, trace in traces.items()
    ]
    return pd.DataFrame(rows)


def environment() -> str:
    return (
        f"Python {platform.python_version()}, PyTorch {torch.__version__}, {platform.system()} on "
        f"{platform.machine()}, {torch.get_num_threads()} threads of the CPU, no GPU"
    )


REPORT = """# PyTorch models under every witness

`python experiments/benchmarks/torch_models.py` writes this page and the tables beside it. Bytes
everywhere. {environment}.

## Peaks

One step with cross-entropy, in float32; with AdamW it is the first, in which the state is born.
*Simulated* and *traced* are memprop's; *MemTracker* is `torch.distributed._tools.mem_tracker`;
*allocator* is every allocation of PyTorch's CPU allocator, from `torch.profiler`, with what was
there before the step.

{models}

The allocator is above the ledger by 12 bytes where the peak is in AdamW (a number of Python, as a
float64 and a float32), and by 512 for the CNN (in the backward of batch norm the kernel takes a
scratch as large as its input, and so the peak moves there).

## Seven billion parameters

A transformer of 32 layers, width 4096, 32,000 words, in bfloat16; batch 1, 2,048 words; AdamW, a
step as all after the first. Nothing is allocated.

{seven_billion}

## The same MLP everywhere

Widths 64, 256, 256, 10; relu; cross-entropy; batch 256; float32; no optimizer.

{same_mlp}

- `textbook` keeps z beside h = relu(z); `lean` and PyTorch keep h alone, from which the derivative
  of relu follows, and the result of (log-)softmax.
- PyTorch's loss keeps 4 bytes more, the sum of its weights. Its peak is higher by 12,292: in a
  training loop the output (10,240) and the labels (2,048) stay to the end, which `lean` lets go of
  at their last read, and autograd holds the gradient of the loss (4).
{jax}
"""

ABOUT_JAX = """- JAX keeps what its rules name, equation by equation: beside the result of relu the
  mask z > 0, of a byte each, and transposed weights, which PyTorch takes as views. XLA fuses or
  computes again some of that when it compiles.
"""


def markdown(table: pd.DataFrame) -> str:
    heads = [name.replace("_", " ") for name in table.columns]
    rows = [heads, ["---"] * len(heads), *table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(_cell(value) for value in row)} |" for row in rows)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value).replace("_", "\\_")


def report(models: pd.DataFrame, large: pd.DataFrame, same: pd.DataFrame) -> str:
    upright = large.T.reset_index().set_axis(["at the peak, and else", "value"], axis=1)
    return REPORT.format(
        environment=environment(),
        models=markdown(models.drop(columns=["parameters", "saved_count"])),
        seven_billion=markdown(upright),
        same_mlp=markdown(same),
        jax=ABOUT_JAX if "jax" in set(same["engine"]) else "",
    ).strip()


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    large = pd.DataFrame([seven_billion()])  # first: what is resident later is not its own
    models = pd.DataFrame([measured(name, kind) for name in MODELS for kind in OPTIMIZERS])
    same = side_by_side(same_mlp())
    for name, table in (("models", models), ("seven_billion", large), ("same_mlp", same)):
        table.to_csv(OUT / f"{name}.csv", index=False)
    (OUT / "README.md").write_text(report(models, large, same) + "\n", encoding="utf-8")
    print(report(models, large, same))


if __name__ == "__main__":
    main()
