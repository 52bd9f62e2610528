"""Running a function in a child of this process, and whatever may become of it.

A fork starts with all that is loaded already, a few milliseconds after it was asked for, and
leaves nothing behind in the process that it came from.
"""

import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

_CHUNK_BYTES: Final = 1 << 16


class Ended(NamedTuple):
    """How a child ended.

    Attributes:
        code: its exit status; the number of the signal that killed it, negative.
        output: what it wrote to stdout.
        errors: what it wrote to stderr.
    """

    code: int
    output: str
    errors: str


def run_in_child(
    work: Callable[[], object],
    *,
    own_group: bool = False,
    started: Callable[[int], object] = lambda _: None,
    until: int | None = None,
) -> Ended:
    """Run ``work`` in a child and wait for its end.

    Args:
        work: what is run; what it raises ends on stderr, and makes the exit status 1.
        own_group: whether the child leads a process group of its own, to be killed as a whole.
        started: called with the child's process id.
        until: a file descriptor; when there is something to be read from it, or its other end is
            closed, the child is killed with its group.
    """
    output, errors = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(work, output[1], errors[1], own_group)
    if own_group:
        _lead_group(pid)  # the child does so too: whoever is first, the group can be killed now
    for pipe in (output, errors):
        os.close(pipe[1])
    started(pid)
    texts = _read(output[0], errors[0], until, pid)
    _, status = os.waitpid(pid, 0)
    return Ended(os.waitstatus_to_exitcode(status), *texts)


def _become(work: Callable[[], object], output: int, errors: int, own_group: bool) -> None:
    """What the child does; it does not return."""
    code = 1
    try:
        if own_group:
            _lead_group(0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))  # noqa: SIM115
        try:
            work()
            code = 0
        except SystemExit as error:
            code = _exit_status(error)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)  # what the parent registered for its own end is the parent's business


def _lead_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has ended already
        os.setpgid(pid, 0)


def _exit_status(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    sys.stderr.write(f"{error.code}\n")
    return 1


def _read(output: int, errors: int, until: int | None, pid: int) -> tuple[str, str]:
    """What the child writes, until it has closed both pipes."""
    texts: dict[int, list[bytes]] = {output: [], errors: []}
    with selectors.DefaultSelector() as selector:
        for descriptor in texts:
            selector.register(descriptor, selectors.EVENT_READ)
        if until is not None:
            selector.register(until, selectors.EVENT_READ)
        left = len(texts)
        while left:
            for key, _ in selector.select():
                if key.fd == until:
                    kill_group(pid)
                    selector.unregister(key.fd)
                    continue
                chunk = os.read(key.fd, _CHUNK_BYTES)
                texts[key.fd].append(chunk)
                if not chunk:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    left -= 1
    both = (b"".join(chunks).decode("utf-8", "replace") for chunks in texts.values())
    return next(both), next(both)


def kill_group(pid: int) -> None:
    """Kill the process group that ``pid`` leads, if there still is one."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
