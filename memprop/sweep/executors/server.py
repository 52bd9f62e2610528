"""The client of :mod:`memprop.sweep.server`, a process that forks for each request."""

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from memprop.sweep.forks import Ended, kill_group

_CHUNK_BYTES: Final = 1 << 16
_PATIENCE_SECONDS: Final = 5.0
"""How long a killed child may take to end."""


class Answer(NamedTuple):
    """What became of a request, and whether that was in time."""

    ended: Ended
    in_time: bool


class ServerGone(Exception):  # noqa: N818 - what happened, not what is wrong
    """The server ended though nobody asked it to."""


class Server:
    """A server in a process of its own.

    Args:
        module: what it runs for a request.
        environment: variables that it gets in addition to those of this process.

    Raises:
        OSError: the process did not start.
    """

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            [sys.executable, "-m", "memprop.sweep.server", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **environment},
            start_new_session=True,  # an interrupt from the keyboard is for the client alone
        )
        self._read = bytearray()
        self._closing, self._running = threading.Lock(), threading.Lock()
        self._child: int | None = None

    def run(self, request: str, seconds: float) -> Answer:
        """What became of ``request``.

        Args:
            request: a line, for the module.
            seconds: after so long it is killed, with all that it started.

        Raises:
            ServerGone: the server ended, by itself or because it was killed.
        """
        with self._running:
            self._send(request)
            self._child = child = self._next(None)["pid"]
            try:
                answer, in_time = self._next(time.monotonic() + seconds), True
            except TimeoutError:
                kill_group(child)
                answer, in_time = self._next(time.monotonic() + _PATIENCE_SECONDS), False
            self._child = None
            return Answer(Ended(**answer), in_time)

    def close(self) -> str:
        """Kill what runs, end, and return what the server said last."""
        with self._closing:  # one thread may stop what another waits for
            return self._close() if self._process.returncode is None else ""

    def _close(self) -> str:
        if self._child is not None:
            kill_group(self._child)
        if self._process.stdin is not None:
            self._process.stdin.close()  # the server kills what it has begun, and ends
            self._process.stdin = None
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        assert self._process.stdout is not None and self._process.stderr is not None  # noqa: S101, PT018
        with self._process.stderr as stderr:
            errors = stderr.read()
        # A thread that waits for an answer must see the end of the pipe. If it were closed under
        # it, the thread would wait for ever.
        with self._running:
            self._process.stdout.close()
        return errors.decode("utf-8", "replace").strip()

    def _send(self, request: str) -> None:
        if self._process.stdin is None:  # it was closed by another thread
            raise ServerGone
        try:
            self._process.stdin.write(request.encode() + b"\n")
        except (OSError, ValueError):
            raise ServerGone from None

    def _next(self, deadline: float | None) -> dict[str, Any]:
        """The next line of the server.

        Raises:
            TimeoutError: there was none before ``deadline``.
        """
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                left = None if deadline is None else max(deadline - time.monotonic(), 0)
                if not selector.select(left):
                    raise TimeoutError
                chunk = os.read(self._process.stdout.fileno(), _CHUNK_BYTES)
                if not chunk:
                    raise ServerGone
                self._read += chunk
        line, _, rest = self._read.partition(b"\n")
        self._read = rest
        return json.loads(line)
