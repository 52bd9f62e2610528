"""Executors by name, as users write them."""

from typing import Final

from memprop.checks import check_positive_integer
from memprop.errors import InvalidValueError, unknown_name
from memprop.machine.cpu import usable_cores
from memprop.sweep.executors import Executor
from memprop.sweep.executors.process import ProcessExecutor

EXECUTORS: Final = ("process", "dask")


def default_jobs() -> int:
    """Trials whose memory is measured at the same time, if nobody says otherwise."""
    return min(2, usable_cores())


def executor_named(
    name: str = "process", scheduler: str | None = None, jobs: int | None = None
) -> Executor:
    """The executor of that name.

    Args:
        name: one of :data:`EXECUTORS`.
        scheduler: the address of a scheduler, for "dask".
        jobs: how many trials run at the same time, for "process".

    Raises:
        UnknownNameError: there is none.
        InvalidValueError: an argument that the executor has no use for, or an impossible one.
    """
    if name not in EXECUTORS:
        raise unknown_name("executor", name, EXECUTORS)
    if name == "process":
        if scheduler is not None:
            raise InvalidValueError("a scheduler is for --executor dask")
        return ProcessExecutor(default_jobs() if jobs is None else jobs)
    if jobs is not None:
        check_positive_integer("jobs", jobs)
        raise InvalidValueError("jobs is for --executor process: a cluster has its own workers")
    from memprop.sweep.executors.dask import DaskExecutor

    return DaskExecutor(scheduler)
