"""Training loops under every witness, and what recording them costs. Writes reports/loops.

Run: python -m experiments.benchmarks.loops
"""

import argparse
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker

import memprop.torch as mpt
from experiments.benchmarks.report import table
from memprop.errors import MempropError

ROOT: Final = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "torch_adapter")]
import torch_oracles  # noqa: E402 - the loops and their witness are the tests'
import training_loops  # noqa: E402

Step = Callable[[], object]
_ROUNDS: Final = 7
_STEPS: Final = 100


def memory_of(name: str) -> dict[str, Any]:
    """One loop under all witnesses: bytes beyond what was there when a step began."""
    step = training_loops.build(name)
    step()
    ((allocator, growth),) = torch_oracles.allocator_steps(step, 1)
    step = training_loops.build(name)
    step()
    with mpt.profile() as prof:
        for _ in range(2):
            step()
            prof.step()
    last = prof.steps().iloc[-1]
    before = int(last["live_bytes"] - last["growth_bytes"])
    return {
        "loop": name,
        "allocator": allocator,
        "memprop": int(last["peak_bytes"]) - before,
        "growth, allocator": growth,
        "growth, memprop": int(last["growth_bytes"]),
        "whole step": int(last["peak_bytes"]),
        "simulated": _or_why(lambda: mpt.simulate_step(training_loops.build(name)).peak),
        "MemTracker": _or_why(lambda: mem_tracker_peak(training_loops.build(name))),
    }


def _or_why(measure: Callable[[], int]) -> int | str:
    try:
        return measure()
    except (MempropError, NotImplementedError, RuntimeError, AssertionError) as error:
        return f"refused: {str(error).partition('.')[0].partition('(')[0].strip()}"


def mem_tracker_peak(step: Any) -> int:
    """The peak of a second step by MemTracker, which is told of modules, optimizers and tensors."""
    step()
    kinds = (nn.Module, torch.optim.Optimizer, torch.Tensor)
    held = [cell.cell_contents for cell in step.__closure__]
    tracker = MemTracker()
    tracker.track_external(*(part for part in held if isinstance(part, kinds)))
    with tracker:
        step()
    (found,) = tracker.get_tracker_snapshot("peak").values()
    return found["Total"]


def encoder(width: int, layers: int, batch: int, length: int) -> Step:
    """The step of a transformer's encoder."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
    model = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
    optimizer = torch.optim.AdamW(model.parameters())
    x = torch.randn(batch, length, width)

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    step.parts = (model, optimizer, x)  # pyright: ignore[reportFunctionMemberAccess]
    return step


def cost_of(name: str, step: Any) -> dict[str, Any]:
    """What recording costs, interleaved, as multiples of a plain step in processor time."""

    def plain() -> None:
        step()

    def recorded() -> None:
        with mpt.profile() as prof:
            step()
            prof.step()

    def tracked() -> None:
        tracker = MemTracker()
        tracker.track_external(*step.parts)
        with tracker:
            step()

    ways = {"plain": plain, "recorded": recorded, "MemTracker": tracked}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for run in ways.values():
        run()
    for _ in range(_ROUNDS):
        for way, run in ways.items():
            begin = time.process_time()
            run()
            taken[way].append(time.process_time() - begin)
    median = {way: statistics.median(times) for way, times in taken.items()}
    return {
        "step": name,
        "plain, ms": round(1e3 * median["plain"], 1),
        "recorded": median["recorded"] / median["plain"],
        "MemTracker": median["MemTracker"] / median["plain"],
        "1 of 100": 1 + (median["recorded"] / median["plain"] - 1) / _STEPS,
        "not recorded": _not_recorded(step),
    }


def _not_recorded(step: Step) -> float:
    """Steps of a profile that are not recorded, over steps without a profile, interleaved."""
    schedule = torch.profiler.schedule(wait=0, warmup=1, active=1, repeat=1)

    def taken(run: Step) -> float:
        begin = time.process_time()
        for _ in range(3):
            run()
        return time.process_time() - begin

    with mpt.profile(schedule=schedule) as prof:

        def inside() -> None:
            step()
            prof.step()

        inside()
        inside()  # this one is recorded
        pairs = [(taken(step), taken(inside)) for _ in range(_ROUNDS)]
    return statistics.median(within / plain for plain, within in pairs)


def page(memory: pd.DataFrame, cost: pd.DataFrame) -> str:
    """The report."""
    return f"""# Training loops

`python -m experiments.benchmarks.loops` writes this page and its tables. PyTorch
{torch.__version__}, Python {platform.python_version()}, {torch.get_num_threads()} threads.

## Memory

Bytes of the second step of each loop. *allocator* is what the CPU allocator adds at most beyond
what was there when the step began, as `torch.profiler` sees it, and *memprop* is the same of a
recorded step; *growth* is what is left at its end. *whole step*, *simulated* and MemTracker's total
count what was there before as well.

{table(memory)}

Of the two leaks the recorded step is the third and the simulated one the second, which had one
loss, or one state, less. MemTracker was not told of the carried state; it takes no module that is
called twice in a step. In MAML four numbers, the 0.01 of
`0.01 * gradient`, are kept by autograd as tensors of 8 bytes.

## Time

Processor time of one step, medians of {_ROUNDS}, interleaved, as multiples of the plain step.
*1 of 100* is computed from that, for a loop in which one step of a hundred is recorded. *not
recorded* is a step that the schedule leaves out, after one that was recorded.

{table(cost.map(lambda value: f"{value:.3g}" if isinstance(value, float) else value))}
"""


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "loops")
    out = parser.parse_args().out
    warnings.simplefilter("ignore")
    memory = pd.DataFrame([memory_of(name) for name in training_loops.LOOPS])
    print(memory.to_string())
    torch.set_num_threads(1)
    sizes = {
        "encoder, width 64, 4 layers, 8 x 32": (64, 4, 8, 32),
        "encoder, width 256, 4 layers, 8 x 128": (256, 4, 8, 128),
    }
    cost = pd.DataFrame([cost_of(name, encoder(*size)) for name, size in sizes.items()])
    print(cost.to_string())
    out.mkdir(parents=True, exist_ok=True)
    memory.to_csv(out / "memory.csv", index=False)
    cost.to_csv(out / "cost.csv", index=False)
    (out / "README.md").write_text(page(memory, cost), encoding="utf-8")


if __name__ == "__main__":
    main()
