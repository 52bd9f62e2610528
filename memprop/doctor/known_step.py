"""Every witness on a step of known size, in a process that starts as a trial does.

Run as ``python -m memprop.doctor.known_step``; writes JSON: by witness the bytes that it saw, null
if it cannot measure here, or a text if it failed.
"""

import json
import sys
import time
from typing import Final

import numpy as np

from memprop.probes import WITNESSES

STEP_BYTES: Final = 32 << 20
_HELD_SECONDS: Final = 0.02
"""Long enough for those who read memory every millisecond or two."""


def main() -> None:
    """Ask all witnesses."""
    sys.stdout.write(json.dumps({name: _seen(name) for name in WITNESSES}))


def _seen(name: str) -> int | str | None:
    try:
        return WITNESSES[name].measure(_step)
    except Exception as error:  # whatever it is, the others can still be asked
        return f"{type(error).__name__}: {error}"


def _step() -> None:
    array = np.ones(STEP_BYTES, dtype=np.uint8)
    time.sleep(_HELD_SECONDS)
    del array


if __name__ == "__main__":
    main()
