"""A process that has loaded all a trial needs, and forks one for each that it is asked for.

Run as ``python -m memprop.sweep.server MODULE``. A request is a line of JSON on stdin, handed to
``MODULE.main`` in the child. Two lines answer it on stdout: ``{"pid": ...}`` when the child runs,
which leads a process group that the client may kill, and ``{"code": ..., "output": ...,
"errors": ...}`` when it has ended. When stdin is closed, what runs is killed and the server ends:
no trial outlives a sweep, however that may have ended.
"""

import gc
import json
import os
import signal
import sys
import warnings
from functools import partial
from importlib import import_module
from typing import Any

from memprop.sweep.forks import run_in_child


def main() -> None:
    """Load the module, answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the client decides what an interrupt means
    # NumPy's BLAS has threads, but puts them away before a fork and makes new ones after.
    warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
    work = import_module(sys.argv[1]).main
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # other output to stdout must not look like an answer
    gc.collect()
    gc.freeze()  # the children need not look at what is here, nor copy it

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    def run(request: str) -> None:
        os.close(answers.fileno())  # the client must see when the server ends
        work(request)

    while request := _line():
        ended = run_in_child(
            partial(run, request),
            own_group=True,
            started=lambda pid: answer(pid=pid),
            until=0,
        )
        answer(**ended._asdict())


def _line() -> str:
    """A line of stdin, read without a buffer, so that what comes later can be waited for."""
    found = bytearray()
    while not found.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return ""
        found += byte
    return found.decode("utf-8")


if __name__ == "__main__":
    main()
