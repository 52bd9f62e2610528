"""What a sweep tells while it runs: on stderr, a bar only where that is a terminal."""

import sys
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from memprop.sweep.plan import Trial

_TASK: Final = TaskID(0)  # the one line that the bar has


class Bar:
    """Trials done, failures so far, the remaining time, and what runs now.

    Args:
        shown: whether to show it, if stderr is a terminal.
        completed: trials that have a result already.
        total: trials in all.
    """

    def __init__(self, shown: bool, completed: int, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            redirect_stdout=False,  # stdout belongs to the caller
            disable=not (shown and sys.stderr.isatty()),
        )
        self._progress.add_task("", completed=completed, total=total, failed=0)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begun(self, trial: Trial) -> None:
        """Say which trial runs now."""
        self._progress.update(_TASK, description=title(trial))

    def done(self, failed: int) -> None:
        """One more is done, and so many have failed."""
        self._progress.update(_TASK, advance=1, failed=failed)


def title(trial: Trial) -> str:
    """What a trial is, in a few words."""
    numbers = f"depth {trial.depth} batch {trial.batch} width {trial.width}"
    return f"{trial.mode} {trial.schedule} {numbers}"


def say(line: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(f"{line}\n")
