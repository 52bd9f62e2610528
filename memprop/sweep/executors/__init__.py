"""How trials are run somewhere: the contract of an executor.

An executor is called with a trial and returns the row of its results, whatever becomes of the
trial: the row starts with the trial's axes, ``status`` is one of
:data:`memprop.sweep.outcome.STATUSES`, and ``message`` says in one line what went wrong. An
executor that raises is itself broken and stops the sweep.
"""

from typing import Protocol, Self

from memprop.sweep.outcome import Row
from memprop.sweep.plan import Trial


class Executor(Protocol):
    """Something that runs trials.

    Attributes:
        jobs: in how many threads it may be called at the same time.
    """

    jobs: int

    def __call__(self, trial: Trial) -> Row:
        """The row of ``trial``."""
        ...

    def stop(self) -> None:
        """Kill what runs, in whatever thread."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
