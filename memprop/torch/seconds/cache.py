"""Seconds of calls that were measured before, in this process and in the user's cache folder.

As with :mod:`memprop.machine.cache`, a file that cannot be read or written is no error, and of two
processes that write at the same time one may lose what it found; nobody ever reads half a file.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

import torch

from memprop.documents import from_json
from memprop.errors import OutputError
from memprop.files import write_whole
from memprop.machine.cache import cache_file
from memprop.machine.cpu import this_cpu

_METHOD: Final = 1
"""To be counted up when something else is measured, or calls are described otherwise."""
_MOST: Final = 20_000
"""So many calls are kept for a device; those measured last."""

_known: dict[str, dict[str, float]] = defaultdict(dict)
"""What this process knows, by device and then by call."""

_refused: set[tuple[str, str]] = set()
"""Devices and calls that did not run on them in this process."""


def seconds_file() -> Path:
    """Where seconds are kept."""
    return cache_file().with_name("operators.json")


def device_key(device: torch.device) -> str:
    """What measured seconds hold for: a device, a version of PyTorch, a number of threads."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        cpu, kernels = this_cpu(), torch.backends.cpu.get_cpu_capability()
        name = f"{cpu.model}, {cpu.architecture}, {cpu.cores} cores, {kernels}"
    precision = torch.get_float32_matmul_precision()
    return (
        f"{name}; PyTorch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"products in {precision}; method {_METHOD}"
    )


def remembered(device: str) -> Mapping[str, float]:
    """The seconds that are known of calls on a device, by the key of their kind."""
    if device not in _known:
        _known[device] |= _read().get(device, {})
    return _known[device]


def remember(device: str, found: Mapping[str, float]) -> None:
    """Keep seconds, in this process and in the file if it can be written."""
    _known[device] |= found
    path, everything = seconds_file(), _read()
    merged = {**everything.get(device, {}), **found}
    everything[device] = dict(islice(merged.items(), max(len(merged) - _MOST, 0), None))
    with suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(everything, indent=0))


def refuse(device: str, call: str) -> None:
    """Do not try a call again in this process: it does not run."""
    _refused.add((device, call))


def is_refused(device: str, call: str) -> bool:
    """Whether a call did not run."""
    return (device, call) in _refused


def _read() -> dict[str, dict[str, float]]:
    try:
        return from_json(dict[str, dict[str, float]], seconds_file().read_bytes())
    except (OSError, ValueError):
        return {}
