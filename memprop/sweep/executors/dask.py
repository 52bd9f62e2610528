"""The executor for many machines: trials on the workers of a dask.distributed cluster.

Each trial runs in processes of its own on its worker, by the same executor as on this machine; the
client alone writes results. Workers may come and go: a trial whose worker is lost runs again on
another one, up to a number of times that the scheduler allows (``allowed-failures``).
"""

import logging
import threading
import uuid
from typing import TYPE_CHECKING, Any, Final, Self

from memprop.errors import InvalidValueError, MissingExtraError
from memprop.sweep.executors.process import ProcessExecutor
from memprop.sweep.measurement import Measurement
from memprop.sweep.plan import Trial

if TYPE_CHECKING:
    from distributed import Client, Future

JOBS: Final = 128
"""Trials that are handed out at the same time: enough for the threads of as many workers."""

_PATIENCE: Final = "10 s"


class DaskExecutor:
    """Runs trials on a cluster.

    Args:
        scheduler: the address of a scheduler, such as "tcp://10.0.0.1:8786"; without one a cluster
            of this machine is started, with one worker, and ended with the executor.

    Raises:
        MissingExtraError: dask.distributed is not installed.
        InvalidValueError: no scheduler answers at that address.
    """

    jobs = JOBS

    def __init__(self, scheduler: str | None = None) -> None:
        self._client = _connected(scheduler)
        self._futures: set[Future] = set()
        self._lock = threading.Lock()

    def workers(self) -> int:
        """How many workers there are now."""
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def __call__(self, trial: Trial) -> Measurement:
        """What comes of ``trial``, run by whichever worker has time for it."""
        from distributed.scheduler import KilledWorker

        name = f"memprop-{trial.key}-{uuid.uuid4().hex[:8]}"
        future = self._client.submit(run_on_worker, trial.to_json(), key=name, pure=False)
        with self._lock:
            self._futures.add(future)
        try:
            return future.result()
        except KilledWorker as error:
            lost = f"its workers were lost, one after the other: {error}".splitlines()[0]
            return Measurement(status="killed", message=lost)
        finally:
            with self._lock:
                self._futures.discard(future)

    def stop(self) -> None:
        """Take back what was handed out; what runs on another machine runs to its end."""
        with self._lock:
            handed_out = list(self._futures)
        self._client.cancel(handed_out, force=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        cluster = self._client.cluster
        self._client.close()
        if cluster is not None:
            cluster.close()


_executors: dict[int, ProcessExecutor] = {}
_executors_lock = threading.Lock()


def run_on_worker(trial: str) -> Measurement:
    """What a worker does: run the trial that this JSON describes, in processes of its own."""
    return _executor()(Trial.from_json(trial))


def _executor() -> ProcessExecutor:
    """One for each worker process, whose threads share it: times are measured alone in it."""
    from distributed import get_worker

    threads = get_worker().state.nthreads
    with _executors_lock:
        if threads not in _executors:
            _executors[threads] = ProcessExecutor(threads)
        return _executors[threads]


def _connected(scheduler: str | None) -> "Client":
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise MissingExtraError(
            "the executor 'dask' needs dask.distributed: pip install 'memprop[dask]'"
        ) from None
    # Workers come and go; the results say what became of their trials.
    logging.getLogger("distributed").setLevel(logging.ERROR)
    if scheduler is None:
        options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1}
        return Client(LocalCluster(**options, dashboard_address=":0"))
    try:
        return Client(scheduler, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        raise InvalidValueError(
            f"no scheduler answers at {scheduler!r}: start one with `dask scheduler` "
            f"({str(error).splitlines()[0]})"
        ) from None
