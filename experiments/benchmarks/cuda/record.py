"""Record steps on a GPU: ``python -m experiments.benchmarks.cuda.record FOLDER [NAME ...]``.

Writes FOLDER/steps/NAME.json.gz, each from a process of its own, and FOLDER/operators.json.gz. What
is in them is described in ``tests/cuda/recordings/h100/README.md``.
"""

import contextlib
import gzip
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from experiments.benchmarks.cuda.steps import STEPS, Step

ACTIONS = {"alloc": "a", "free_completed": "f", "segment_alloc": "s", "segment_free": "x"}


def run(step: Step, optimizer: torch.optim.Optimizer, mark: Callable[[str], None]) -> None:
    """One training step."""
    cast = contextlib.nullcontext()
    if step.autocast is not None:
        cast = torch.autocast("cuda", dtype=step.autocast)
    given = step.inputs
    args = given if isinstance(given, tuple) else () if isinstance(given, dict) else (given,)
    with cast:
        mark("forward")
        output = step.module(*args, **(given if isinstance(given, dict) else {}))
        mark("loss")
        loss = step.loss(output, *(() if step.target is None else (step.target,)))
    mark("backward")
    loss.backward()
    mark("update")
    optimizer.step()
    mark("end")
    del output, loss
    optimizer.zero_grad(set_to_none=True)
    torch.cuda.synchronize()


def given_bytes(step: Step, optimizer: torch.optim.Optimizer) -> int:
    """Bytes on the GPU of what is there before a step, each storage once."""
    state = [part for parts in optimizer.state.values() for part in parts.values()]
    given = [*step.module.parameters(), *step.module.buffers(), *state]
    given += [step.target, *tree_leaves(step.inputs)]
    there = (one.untyped_storage() for one in given if torch.is_tensor(one) and one.is_cuda)
    return sum({storage.data_ptr(): storage.nbytes() for storage in there}.values())


def measured(step: Step, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A step with the allocator's own figures."""
    torch.cuda.synchronize()
    before, marks = torch.cuda.memory_allocated(), []
    torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()

    def mark(phase: str) -> None:
        marks.append([phase, torch.cuda.memory_stats()["allocation.all.allocated"]])

    run(step, optimizer, mark)
    stats = torch.cuda.memory_stats()
    kinds = ("allocated", "active", "reserved", "requested")
    peaks = {f"{kind}_peak": stats[f"{kind}_bytes.all.peak"] for kind in kinds}
    after = {"after": stats["allocated_bytes.all.current"], "marks": marks}
    return {"seconds": time.perf_counter() - begun, "before": before, **after, **peaks}


class Operators(TorchDispatchMode):
    """Every operator with what it takes for itself and what it keeps, in bytes asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[Any]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result, peak, kept = called(func, args, kwargs)
        given = (described(args), described(list(kwargs.items())))
        self.found.append([str(func), *given, described(result), peak, kept])
        return result


def called(func: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, int, int]:
    """What an operator returns, bytes at the peak inside the call, bytes kept, as asked for."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_stats()["requested_bytes.all.current"]
    result = func(*args, **kwargs)
    after = torch.cuda.memory_stats()
    peak, now = (after[f"requested_bytes.all.{which}"] for which in ("peak", "current"))
    return result, peak - before, now - before


def described(value: Any) -> Any:
    """Tensors by type, shape, and strides if not contiguous; long lists by their first one."""
    if torch.is_tensor(value):
        strides = [] if value.is_contiguous() else [list(value.stride())]
        place = [] if value.is_cuda else [str(value.device)]
        return [str(value.dtype).removeprefix("torch."), list(value.shape), *strides, *place]
    if isinstance(value, list | tuple):
        if len(value) > 4 and all(one is None or torch.is_tensor(one) for one in value):
            elements = sum(one.numel() for one in value if one is not None)
            return ["list", len(value), elements, described(value[0])]
        return [described(one) for one in value]
    return str(value)


def events() -> Iterator[list[Any]]:
    """What the allocator did, addresses relative to the lowest."""
    trace = torch.cuda.memory._snapshot()["device_traces"][0]
    lowest = min(event["addr"] for event in trace)
    for event in trace:
        if event["action"] in ACTIONS:
            place = (event["addr"] - lowest, event.get("stream", 0))
            yield [ACTIONS[event["action"]], event["size"], *place]


def record(name: str, folder: Path) -> None:
    """Three steps with every allocation, and a fourth operator by operator."""
    torch.manual_seed(0)
    torch.cuda.memory._record_memory_history(enabled="all", context=None, max_entries=2_000_000)
    step = STEPS[name]("cuda")
    optimizer = step.optimizer(step.module.parameters())
    found: dict[str, Any] = {"name": name, "torch": torch.__version__}
    found["device"] = torch.cuda.get_device_name()
    found["steps"] = [measured(step, optimizer) for _ in range(3)]
    found["given_bytes"] = given_bytes(step, optimizer)
    found["events"] = list(events())
    write(folder / "steps" / f"{name}.json.gz", found)
    with Operators() as operators:
        run(step, optimizer, lambda _: None)
    write(folder / f"{name}.operators.json.gz", operators.found)


def write(path: Path, found: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))


def merge(folder: Path) -> None:
    """One table of all operators, each call of one kind once."""
    rows: dict[str, Any] = {}
    for path in sorted(folder.glob("*.operators.json.gz")):
        for row in json.loads(gzip.decompress(path.read_bytes())):
            rows.setdefault(json.dumps(row), row)
        path.unlink()
    about = {"torch": torch.__version__, "device": torch.cuda.get_device_name()}
    write(folder / "operators.json.gz", {**about, "rows": list(rows.values())})


def main() -> None:
    folder, *names = sys.argv[1:]
    if len(names) == 1:
        return record(names[0], Path(folder))
    for name in names or STEPS:  # each in a process of its own: a fresh allocator
        command = [sys.executable, "-m", "experiments.benchmarks.cuda.record", folder, name]
        subprocess.run(command, check=True, timeout=600)  # noqa: S603
    return merge(Path(folder))


if __name__ == "__main__":
    main()
