"""What the kernel allows this process, where it runs in a container: Linux's control groups.

Both versions are read, v2 and the controllers of v1. A process is held to the limits of its own
group and of all groups above it; a container may see only some of these, and then its limits are
those that it sees.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")
_NO_LIMIT_BYTES: Final = 1 << 60
"""v1 writes no limit as the largest number of pages."""

_MEMORY: Final[Mapping[str, tuple[str, str, str]]] = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""By controller ("" for v2) the files of limit and use, and the line of memory.stat that counts
pages of files that the kernel takes back first."""


@dataclass(frozen=True)
class Allowance:
    """Memory that a control group may take.

    Attributes:
        limit_bytes: at most.
        used_bytes: what it has taken, less pages of files that nobody needs now.
    """

    limit_bytes: int
    used_bytes: int

    @property
    def room_bytes(self) -> int:
        """Bytes that are left."""
        return max(self.limit_bytes - self.used_bytes, 0)


def memory_allowance() -> Allowance | None:
    """The tightest limit; ``None`` where no group has a limit, or none is known."""
    found = [
        allowance
        for controller, files in _MEMORY.items()
        for folder in _groups(controller)
        if (allowance := _allowance(folder, *files)) is not None
    ]
    return min(found, key=lambda allowance: allowance.room_bytes, default=None)


def cpu_quota() -> float | None:
    """How many cores' time this process may take; ``None`` where there is no quota."""
    quotas = [_quota_v2(folder) for folder in _groups("")]
    quotas += [_quota_v1(folder) for folder in _groups("cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's group and of those above it, as far as they can be seen."""
    for own in _own_paths(controller):
        root = _ROOT / controller
        for group in (own, *own.parents):
            yield root / group


def _own_paths(controller: str) -> Iterator[Path]:
    """The process's group below the root of a hierarchy: lines are "4:memory:/path", "0::/path"."""
    try:
        lines = _OWN.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            yield Path(path.lstrip("/"))


def _allowance(folder: Path, limit: str, used: str, reclaimable: str) -> Allowance | None:
    limit_bytes, used_bytes = _number(folder / limit), _number(folder / used)
    if limit_bytes is None or used_bytes is None or limit_bytes >= _NO_LIMIT_BYTES:
        return None
    return Allowance(limit_bytes, max(used_bytes - _stat(folder, reclaimable), 0))


def _stat(folder: Path, name: str) -> int:
    """A line of memory.stat; 0 where there is none."""
    words = (line.split() for line in _text(folder / "memory.stat").splitlines())
    return next((int(pair[1]) for pair in words if pair[0] == name), 0)


def _quota_v2(folder: Path) -> float | None:
    """cpu.max holds "200000 100000", or "max 100000"."""
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() else None


def _quota_v1(folder: Path) -> float | None:
    """No quota is written as -1."""
    quota, period = (_number(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return None if quota is None or period is None or quota < 0 else quota / period


def _number(path: Path) -> int | None:
    """What a file holds, if it is a number."""
    try:
        return int(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    """What a file holds; "" where there is none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
