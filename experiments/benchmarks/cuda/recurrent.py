"""What cuDNN's recurrent layers keep: ``python -m experiments.benchmarks.cuda.recurrent FILE``.

Writes FILE, JSON: 500 layers of random and of chosen sizes. What is in it is described in
``tests/cuda/recordings/h100/README.md``.
"""

import itertools
import json
import random
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.benchmarks.cuda.record import called

KINDS = ("LSTM", "GRU", "rnntanh", "rnnrelu")
TYPES = (torch.float32, torch.bfloat16, torch.float16)
LAYERS = ((1, False, 0.0), (2, False, 0.0), (2, False, 0.2), (1, True, 0.0), (3, True, 0.3))
SIZES = ((5, 3, 7, 11), (16, 8, 32, 64), (33, 20, 100, 200), (64, 32, 512, 1024))


class Layers(TorchDispatchMode):
    """The operators of cuDNN: bytes at the peak, bytes kept, bytes and shapes of what is made."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[Any]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result, peak, kept = called(func, args, kwargs or {})
        if "cudnn" in str(func):
            made = result if isinstance(result, list | tuple) else [result]
            shapes = [_shape(one) if torch.is_tensor(one) else None for one in made]
            self.found.append([str(func), peak, kept, [_bytes(one) for one in made], shapes])
        return result


def _bytes(made: Any) -> Any:
    if isinstance(made, list | tuple):
        return [_bytes(one) for one in made]
    return None if made is None else made.numel() * made.element_size()


def _shape(made: torch.Tensor) -> list[list[int]]:
    return [list(made.shape), list(made.stride())]


def measured(case: dict[str, Any]) -> dict[str, Any]:
    """A forward and a backward pass of one layer."""
    kind, dtype = case["kind"], getattr(torch, case["dtype"])
    make, more = (nn.RNN, {"nonlinearity": kind[3:]}) if kind.startswith("rnn") else (None, {})
    more |= {"proj_size": case["proj"]} if case["proj"] else {}
    cells = (make or getattr(nn, kind))(
        case["I"],
        case["H"],
        case["L"],
        bidirectional=case["bi"],
        dropout=case["p"],
        batch_first=case["first"],
        bias=case["bias"],
        device="cuda",
        dtype=dtype,
        **more,
    )
    steps, batch = case["T"], case["B"]
    shape = (batch, steps, case["I"]) if case["first"] else (steps, batch, case["I"])
    x: Any = torch.randn(shape, device="cuda", dtype=dtype, requires_grad=True)
    if case["lengths"] is not None:
        x = nn.utils.rnn.pack_padded_sequence(x, case["lengths"], batch_first=case["first"])
    with Layers() as layers:
        output = cells(x)[0]
        (output if case["lengths"] is None else output.data).float().sum().backward()
    return {**case, "ops": layers.found}


def cases() -> list[dict[str, Any]]:
    """Chosen sizes of all kinds and types, and random ones."""
    draw = random.Random(0)  # noqa: S311
    found = [
        _case(kind, dtype, *sizes, *layers, first=draw.random() < 0.5)
        for kind, dtype, layers, sizes in itertools.product(KINDS, TYPES, LAYERS, SIZES)
    ]
    for kind in KINDS:
        for _ in range(60):
            sizes = (draw.randint(1, most) for most in (80, 70, 300, 400))
            layers = (draw.randint(1, 4), draw.random() < 0.4, draw.choice((0.0, 0.1)))
            flags = {name: draw.random() < odds for name, odds in (("first", 0.5), ("bias", 0.9))}
            packed = draw.random() < 0.25
            found.append(_case(kind, draw.choice(TYPES), *sizes, *layers, **flags, packed=packed))
    for _ in range(20):
        sizes = (draw.randint(1, 50), draw.randint(1, 40), draw.randint(1, 200))
        layers = (draw.randint(20, 300), draw.randint(1, 3), draw.random() < 0.4, 0.0)
        found.append(_case("LSTM", TYPES[0], *sizes, *layers, proj=draw.randint(1, 19)))
    return found


def _case(
    kind: str, dtype: torch.dtype, *sizes: Any, packed: bool = False, **flags: Any
) -> dict[str, Any]:
    names = ("T", "B", "I", "H", "L", "bi", "p")
    case = {"kind": kind, "dtype": str(dtype).removeprefix("torch.")}
    case |= dict(zip(names, sizes, strict=True))
    case |= {"first": False, "bias": True, "proj": 0} | flags
    lengths = [max(1, case["T"] - place) for place in range(case["B"])]
    return {**case, "lengths": lengths if packed else None}


def main() -> None:
    about = {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}
    about["device"] = torch.cuda.get_device_name()
    rows = [measured(case) for case in cases()]
    Path(sys.argv[1]).write_text(json.dumps({**about, "rows": rows}), encoding="utf-8")


if __name__ == "__main__":
    main()
