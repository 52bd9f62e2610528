"""Which witnesses work here: each is tried on a step of known size."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from memprop.doctor.finding import GOOD, NOTICE, PROBLEM, Finding
from memprop.doctor.known_step import STEP_BYTES
from memprop.probes import WITNESSES, kernel
from memprop.units import format_bytes

SECTION: Final = "witnesses"
_SAMPLERS_BYTES: Final = STEP_BYTES // 10 + (4 << 20)
"""How far a witness may be from the truth of which nothing is promised: a tenth, and what else the
process does."""

_MODULE: Final = "memprop.doctor.known_step"
_PATIENCE_SECONDS: Final = 60.0

Seen = Mapping[str, int | str | None]
"""By witness what it saw: bytes; ``None`` if it cannot measure here; a text if it failed."""


def seen_by_all() -> Seen:
    """What each witness sees of the step, in a process that starts as a trial does."""
    try:
        done = subprocess.run(  # noqa: S603 - the command is ours
            [sys.executable, "-m", _MODULE],
            env={**os.environ, **kernel.ENVIRONMENT},
            capture_output=True,
            text=True,
            check=True,
            timeout=_PATIENCE_SECONDS,
        )
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return dict.fromkeys(WITNESSES, f"the process that tries it failed: {error}")


def findings(seen: Seen) -> Iterator[Finding]:
    """Findings about each witness."""
    for name, size in seen.items():
        if isinstance(size, str):
            do = f"Leave {name} out of the witnesses of a sweep."
            yield Finding(SECTION, PROBLEM, f"{name} failed: {size}.", do)
        elif size is None:
            yield Finding(SECTION, NOTICE, f"{name} cannot measure here{_why(name)}.", _INSTEAD)
        else:
            yield _compared(name, size)


_INSTEAD: Final = "Its column of a sweep stays empty; use another witness."


def _why(name: str) -> str:
    reason = WITNESSES[name].why_not()
    return f": {reason}" if reason else ""


def _compared(name: str, size: int) -> Finding:
    says = f"{name} sees {size:,} bytes of a step of {STEP_BYTES:,} ({format_bytes(STEP_BYTES)})."
    bound = WITNESSES[name].bound
    room = _SAMPLERS_BYTES if bound is None else bound.bytes_of(np.array(STEP_BYTES))
    if abs(size - STEP_BYTES) <= room:
        return Finding(SECTION, GOOD, says)
    return Finding(SECTION, NOTICE, says, "Try again while nothing else runs; do not rely on it.")
