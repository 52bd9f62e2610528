"""One contender's process, asked and answering over a pipe."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, Self

from experiments.benchmarks.lineup import Contender, surroundings

ROOT: Final = Path(__file__).parents[2]
_LAST_LINES: Final = 3


class ContenderFailed(Exception):  # noqa: N818 - it says what happened
    """A contender is not installed, or its process ended: with the last lines of its stderr."""


class Contestant:
    """The process of a contender; it starts at once, and loads what it measures meanwhile.

    Raises:
        ContenderFailed: what it measures is not installed.
    """

    def __init__(self, contender: Contender) -> None:
        if contender.absent:
            raise ContenderFailed(contender.absent)
        module, *arguments = contender.command
        name = f"{__package__}.contenders.{module}"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", name, *arguments],
            cwd=ROOT,
            env=surroundings() | contender.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ask(self, verb: str, **arguments: Any) -> Any:
        """The answer to a request.

        Raises:
            ContenderFailed: the process ended instead of answering.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([verb, arguments]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise ContenderFailed(self._last_words())
        return json.loads(answer)

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return f"failed: {' / '.join(lines[-_LAST_LINES:]) or f'status {status}'}"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
