"""The processor: its name, what it can run, and how many of its cores this process may use."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CPUINFO: Final = Path("/proc/cpuinfo")
_FLAGS: Final = ("flags", "Features")
"""What Linux calls the line on x86-64, and on ARM."""


@dataclass(frozen=True)
class Cpu:
    """A processor.

    Attributes:
        model: its name; "" where the system does not say.
        architecture: its family of instructions, as ``x86_64``.
        flags: sets of instructions that it has and the system lets it use, in Linux's names; empty
            where the system does not say.
        cores: how many of its cores this process may use.
    """

    model: str
    architecture: str
    flags: frozenset[str]
    cores: int


def this_cpu() -> Cpu:
    """The processor of this machine."""
    lines = _cpuinfo()
    model = lines.get("model name", platform.processor())
    flags = next((lines[name] for name in _FLAGS if name in lines), "")
    return Cpu(model, platform.machine(), frozenset(flags.split()), usable_cores())


def usable_cores() -> int:
    """A container or taskset may grant this process fewer cores than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first core, by name; nothing elsewhere."""
    try:
        first, _, _ = _CPUINFO.read_text(encoding="utf-8", errors="replace").partition("\n\n")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
