"""Trials on a real scheduler with workers on loopback, one of them killed in the middle."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from memprop.errors import InvalidValueError
from memprop.sweep.axes import AXES
from memprop.sweep.executors.process import ProcessExecutor
from memprop.sweep.results import load_results
from memprop.sweep.runner import run_sweep
from memprop.sweep.spec import GridSpec, MeasureSpec, SweepSpec
from memprop.terms import CATEGORIES

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("distributed"),
]

SPEC = SweepSpec(
    name="cluster",
    title="On a cluster",
    grid=GridSpec(depth=(1, 2, 3, 4), batch=(16, 64, 256), width=(32,), schedule=("lean", "sqrt")),
    measure=MeasureSpec(witnesses=("tracemalloc",), steps=2, repeats=2),
)
MEMORY = [*AXES, "status", "predicted_peak", "ledger_peak", "saved_bytes", "flops"]
MEMORY += [f"peak_{name}" for name in CATEGORIES]


def start(*command):
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "false"},
    )


@pytest.fixture
def cluster(distributed):
    """The address of a scheduler, and its two workers."""
    scheduler = start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
                      "--no-dashboard")  # fmt: skip
    for line in scheduler.stderr:
        if found := re.search(r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)", line):
            break
    address = found[1]
    worker = ("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny",
              "--no-dashboard", "--host", "127.0.0.1")  # fmt: skip
    workers = [start(*worker) for _ in range(2)]
    yield address, workers
    for one in (*workers, scheduler):
        one.kill()
        one.communicate()


class KillingAWorker:
    """An executor that kills a worker when it has given some results."""

    def __init__(self, execute, worker, results):
        self.execute, self.worker, self.left = execute, worker, results
        self.jobs, self.lock = execute.jobs, threading.Lock()

    def __call__(self, trial):
        row = self.execute(trial)
        with self.lock:
            self.left -= 1
            if self.left == 0:
                self.worker.send_signal(signal.SIGKILL)
                self.worker.wait()
        return row

    def stop(self):
        self.execute.stop()


def test_a_killed_worker_loses_nothing_and_the_results_are_those_of_this_machine(tmp_path, cluster):
    from memprop.sweep.executors.dask import DaskExecutor

    address, workers = cluster
    with DaskExecutor(address) as execute:
        deadline = time.monotonic() + 60
        while execute.workers() < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert execute.workers() == 2
        killing = KillingAWorker(execute, workers[0], results=4)
        outcome = run_sweep(SPEC, tmp_path / "cluster", execute=killing)
    assert workers[0].returncode == -signal.SIGKILL
    assert workers[1].poll() is None
    assert (outcome.ran, outcome.failed) == (24, 0)
    with ProcessExecutor(2) as execute:
        run_sweep(SPEC, tmp_path / "here", execute=execute)
    there, here = (load_results(tmp_path / name)[MEMORY] for name in ("cluster", "here"))
    assert len(there) == 24
    assert there.equals(here)


def test_a_scheduler_that_is_not_there_is_told(monkeypatch):
    from memprop.sweep.executors import dask

    monkeypatch.setattr(dask, "_PATIENCE", "0.5 s")
    with pytest.raises(InvalidValueError, match=r"no scheduler answers at 'tcp://127.0.0.1:1'"):
        dask.DaskExecutor("tcp://127.0.0.1:1")
    with pytest.raises(InvalidValueError, match="no scheduler answers at 'nonsense://'"):
        dask.DaskExecutor("nonsense://")
