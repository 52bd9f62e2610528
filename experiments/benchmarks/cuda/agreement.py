"""Predictions for a GPU against what a real H100 did, beside other tools on the same steps.

    python experiments/benchmarks/cuda/agreement.py [NAME ...] [--out reports/cuda]

Needs no GPU: the steps were recorded (tests/cuda/recordings/h100), three of each in a process of
its own. The second is compared. Models of libraries that are not installed are left out.
"""

import argparse
import gzip
import io
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from experiments.benchmarks.report import table

ROOT: Final = Path(__file__).parents[3]
RECORDED: Final = ROOT / "tests" / "cuda" / "recordings" / "h100" / "models"
sys.path.insert(0, str(ROOT / "tests" / "cuda"))
from h100_models import PICTURES, STEPS, TRANSFORMERS, simulated  # noqa: E402 - the steps are the tests'

MODELS: Final = {**STEPS, **TRANSFORMERS, **PICTURES}


def built(name: str) -> Any:
    """The step without memory."""
    with torch.device("meta"):
        return MODELS[name]()


def memprop(name: str) -> dict[str, Any]:
    """What memprop predicts, and how long that takes."""
    step, begin = built(name), time.perf_counter()
    trace = simulated(step, warmup=1)
    return {
        "allocated": trace.allocated_peak,
        "reserved": trace.reserved_peak,
        "seconds": time.perf_counter() - begin,
    }


def memtracker(name: str) -> int:
    """The peak of PyTorch's MemTracker in the second step, on fake tensors of the CPU."""
    from torch.distributed._tools.mem_tracker import MemTracker

    step, mode = MODELS[name](), FakeTensorMode()
    _fake(step.module, mode)
    step.inputs, step.target = torch.utils._pytree.tree_map_only(
        torch.Tensor, mode.from_tensor, (step.inputs, step.target)
    )
    with mode:
        optimizer = step.optimizer(step.module.parameters())
        tracker = MemTracker()
        tracker.track_external(step.module, optimizer, *_tensors((step.inputs, step.target)))
        with tracker:
            for number in range(2):
                _run(step, optimizer)
                if number == 0:
                    tracker.reset_mod_stats()
    return max(sizes["Total"] for sizes in tracker.get_tracker_snapshot("peak").values())


def _fake(module: nn.Module, mode: FakeTensorMode) -> None:
    """Put fake tensors in the place of parameters and buffers; those that are one stay one."""
    known: dict[int, torch.Tensor] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                twin = nn.Parameter(mode.from_tensor(parameter.detach()))
                part._parameters[name] = known.setdefault(id(parameter), twin)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = mode.from_tensor(buffer)


def _tensors(tree: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(tree)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _run(step: Any, optimizer: torch.optim.Optimizer) -> None:
    on = nullcontext() if step.autocast is None else torch.autocast("cpu", step.autocast)
    with on:
        by_name = isinstance(step.inputs, dict)
        made = step.module(**step.inputs) if by_name else step.module(*_arguments(step.inputs))
        loss = step.loss(made) if step.target is None else step.loss(made, step.target)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _arguments(inputs: Any) -> tuple[Any, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def accelerate(name: str) -> int:
    """``accelerate estimate-memory``: four times the model, for training with Adam."""
    from accelerate.utils import calculate_maximum_sizes

    size, _ = calculate_maximum_sizes(built(name).module)
    return 4 * size


def deepspeed(name: str) -> int:
    """DeepSpeed's estimate of model states, ZeRO 2 on one GPU without offload."""
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    count = sum(parameter.numel() for parameter in built(name).module.parameters())
    return estimate_zero2_model_states_mem_needs(count, cpu_offload=False)[1]


def torchinfo(name: str) -> int:
    """torchinfo's estimated total size: input, parameters, and outputs twice."""
    from torchinfo import summary

    step, device = (MODELS[name](), "cpu") if name in TRANSFORMERS else (built(name), "meta")
    by_name = isinstance(step.inputs, dict)
    data = step.inputs if by_name else list(_arguments(step.inputs))
    with redirect_stderr(io.StringIO()):
        found = summary(step.module, input_data=data, device=device, verbose=0)
    return found.total_input + found.total_param_bytes + found.total_output_bytes


OTHERS: Final[dict[str, Callable[[str], int]]] = {
    "MemTracker": memtracker,
    "torchinfo": torchinfo,
    "accelerate": accelerate,
    "DeepSpeed": deepspeed,
}


def row_of(name: str) -> dict[str, Any]:
    """What was recorded of a step, and what each tool says of it."""
    recording = json.loads(gzip.decompress((RECORDED / f"{name}.json.gz").read_bytes()))
    step = recording["steps"][1]
    found = memprop(name)
    row = {
        "model": name,
        "allocated": step["allocated_peak"],
        "memprop allocated": found["allocated"],
        "error": found["allocated"] / step["allocated_peak"] - 1,
        "reserved": step["reserved_peak"],
        "memprop reserved": found["reserved"],
        "reserved error": found["reserved"] / step["reserved_peak"] - 1,
        "seconds": found["seconds"],
    }
    # Others know nothing of what libraries keep, so they are held against the peak without it.
    own = step["allocated_peak"] - (step["before"] - recording["given_bytes"])
    for tool, estimate in OTHERS.items():
        try:
            row[f"{tool} error"] = estimate(name) / own - 1
        except Exception as error:
            print(f"{name}: {tool} failed: {type(error).__name__}: {str(error)[:200]}")
            row[f"{tool} error"] = None
    return row


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """For each tool the median and the largest of its errors, and how many are within 1 %."""
    columns = [name for name in rows.columns if name.endswith("error")]
    found = []
    for column in columns:
        errors = rows[column].astype(float).abs()
        tool = {"error": "memprop, allocated", "reserved error": "memprop, reserved"}.get(
            column, column.removesuffix(" error")
        )
        found.append(
            {
                "tool": tool,
                "median": f"{errors.median():.2%}",
                "worst": f"{errors.max():.1%}",
                "within 1 %": f"{(errors <= 0.01).sum()} of {len(rows)}",
                "failed": int(errors.isna().sum()),
            }
        )
    return pd.DataFrame(found)


PAGE: Final = """# Predictions for a GPU against a real H100

`python experiments/benchmarks/cuda/agreement.py` writes this page and `agreement.csv` on a machine
without a GPU. Recorded: one NVIDIA H100 80GB HBM3, PyTorch 2.11.0+cu130, transformers 5.17, the
second training step of a process. Predicted: PyTorch {torch}, Python {python}, {cores} cores.

{summary}

MemTracker runs on fake tensors of the CPU here, as memprop does. torchinfo is asked on the meta
device (of transformers on the CPU), accelerate for training with Adam, DeepSpeed for ZeRO 2 on one
GPU; the last two know the parameters alone. All but memprop are held against the allocated peak
without what cuBLAS and cuDNN keep. Errors are signed below; an empty cell is a failure.

{rows}
"""


def page(rows: pd.DataFrame) -> str:
    """The report in Markdown."""
    shown = rows.copy()
    for column in [name for name in rows.columns if name.endswith("error")]:
        shown[column] = [
            "" if pd.isna(value) else f"{value:+.2%}" for value in rows[column].astype(float)
        ]
    for column in ("allocated", "memprop allocated", "reserved", "memprop reserved"):
        shown[column] = [f"{value:,}" for value in rows[column]]
    shown["seconds"] = [f"{value:.1f}" for value in rows["seconds"]]
    return PAGE.format(
        torch=torch.__version__,
        python=platform.python_version(),
        cores=os.cpu_count(),
        summary=table(summary(rows)),
        rows=table(shown),
    )


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(MODELS))
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "cuda")
    asked = parser.parse_args()
    rows = []
    for name in asked.names:
        try:
            rows.append(row_of(name))
        except ImportError as missing:
            print(f"{name}: left out: {missing}")
            continue
        print(f"{name}: {rows[-1]['error']:+.2%}, {rows[-1]['reserved error']:+.2%}", flush=True)
    made = pd.DataFrame(rows)
    asked.out.mkdir(parents=True, exist_ok=True)
    made.to_csv(asked.out / "agreement.csv", index=False)
    (asked.out / "README.md").write_text(page(made), encoding="utf-8")


if __name__ == "__main__":
    main()
