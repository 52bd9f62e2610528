"""How trials are run somewhere: the contract of an executor.

An executor is called with a trial and returns its measurement, whatever becomes of the trial. An
executor that raises is itself broken and stops the sweep.
"""

from typing import Protocol, Self

from memprop.sweep.measurement import Measurement
from memprop.sweep.plan import Trial


class Executor(Protocol):
    """Something that runs trials.

    Attributes:
        jobs: in how many threads it may be called at the same time.
    """

    jobs: int

    def __call__(self, trial: Trial) -> Measurement:
        """What comes of ``trial``."""
        ...

    def stop(self) -> None:
        """Kill what runs, in whatever thread."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
