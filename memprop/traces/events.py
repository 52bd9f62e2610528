"""The raw columns of a trace: what was allocated, read and freed, in order."""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np

KINDS: Final = ("allocate", "read", "free")
ALLOCATE: Final = 0
READ: Final = 1
FREE: Final = 2


@dataclass(frozen=True, eq=False)
class Events:
    """The events of a step, each attribute an int64 array of shape ``(events,)``.

    Attributes:
        kind: ALLOCATE, READ or FREE.
        phase: index in the trace's phases.
        operator: index in the trace's operators; -1 before the first and after the last one.
        variable: index in the trace's variables.
        storage: number of the buffer. Variables of one storage share their bytes.
        bytes: the size of the buffer.
        nanoseconds: since the step began; -1 where nothing was run.

    ``kind allocate`` says that a variable comes to life: in a new storage, or in one that another
    variable lives in still (a view, a result written over its operand). A storage is released
    when the last variable in it is freed.
    """

    kind: np.ndarray
    phase: np.ndarray
    operator: np.ndarray
    variable: np.ndarray
    storage: np.ndarray
    bytes: np.ndarray
    nanoseconds: np.ndarray

    def __len__(self) -> int:
        return len(self.kind)

    def __eq__(self, other: object) -> bool:
        """Whether the same happened; times do not count."""
        if not isinstance(other, Events):
            return NotImplemented
        names = (field.name for field in fields(self) if field.name != "nanoseconds")
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # pyright: ignore[reportAssignmentType] - equal by content, as lists are


@dataclass(frozen=True, slots=True)
class TracedVariable:
    """A variable that was seen: name, category, layer, shape as it was, dtype and size in bytes.

    ``site`` says where in the user's own program it was made: a module path of PyTorch, a file and
    line of NumPy or JAX code; "" where a model of memprop made it. ``kept`` says whether the
    framework held it for backward when that began; ``None`` where that follows from the reads.
    ``guessed`` says that its bytes are an estimate. ``device`` is where it lives: "cpu", "cuda:0",
    "pinned" for memory of the host that GPUs copy from, "disk" for files; "" where all are on the
    trace's one device.
    ``line`` is the line of the user's program that made it, as ``train.py:12``; "" where nobody
    asked.
    """

    name: str
    category: str
    layer: int | None
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    site: str = ""
    kept: bool | None = None
    guessed: bool = False
    device: str = ""
    line: str = ""


@dataclass(frozen=True, slots=True)
class TracedOperator:
    """An operator that ran: its name, phase, layer, and ``site`` as of a variable.

    ``flops`` are its floating-point operations, where they are known.
    """

    name: str
    phase: str
    layer: int | None
    site: str = ""
    flops: int | None = None
