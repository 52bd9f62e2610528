import os
import re
import signal
import threading
import time
from collections import Counter

import pytest

from memprop.errors import InvalidValueError
from memprop.sweep.executors import process
from memprop.sweep.executors.process import run_in_process
from memprop.sweep.plan import trials
from memprop.sweep.runner import run_sweep
from memprop.sweep.spec import GridSpec, SweepSpec
from memprop.sweep.store import ResultStore, stored_rows


class Executor:
    """Counts what it runs; raises or fails where it is told to."""

    def __init__(self, *, interrupt_at=None, fail=()):
        self.runs = Counter()
        self.interrupt_at = interrupt_at
        self.fail = fail

    def __call__(self, trial):
        if sum(self.runs.values()) == self.interrupt_at:
            raise KeyboardInterrupt
        self.runs[trial.key] += 1
        status = "error" if trial.depth in self.fail else "ok"
        return {**trial.axes(), "status": status, "message": ""}


def test_every_trial_is_run_once_and_stored_in_order(tmp_path, spec, capsys):
    execute = Executor()
    outcome = run_sweep(spec, tmp_path, execute=execute)
    assert (outcome.ran, outcome.skipped, outcome.failed) == (6, 0, 0)
    assert outcome.seconds > 0
    assert execute.runs == Counter(trial.key for trial in trials(spec))
    points = [(row["depth"], row["batch"]) for row in stored_rows(tmp_path)]
    assert points == [(1, 8), (1, 16), (2, 8), (2, 16), (4, 8), (4, 16)]
    captured = capsys.readouterr()
    assert captured.out == ""
    line = r"ran 6, skipped 0, failed 0 in .*s: 6 of 6 results are stored\n"
    assert re.fullmatch(line, captured.err)


def test_a_second_run_has_nothing_to_do(tmp_path, spec):
    run_sweep(spec, tmp_path, execute=Executor())
    again = Executor()
    outcome = run_sweep(spec, tmp_path, execute=again)
    assert (outcome.ran, outcome.skipped) == (0, 6)
    assert not again.runs


def test_fresh_runs_everything_again(tmp_path, spec):
    run_sweep(spec, tmp_path, execute=Executor(fail=(1, 2, 4)))
    outcome = run_sweep(spec, tmp_path, fresh=True, execute=Executor())
    assert (outcome.ran, outcome.skipped, outcome.failed) == (6, 0, 0)
    assert {row["status"] for row in stored_rows(tmp_path)} == {"ok"}


def test_a_limit_is_kept_and_the_rest_comes_later(tmp_path, spec):
    execute = Executor()
    assert run_sweep(spec, tmp_path, limit=4, execute=execute).ran == 4
    outcome = run_sweep(spec, tmp_path, limit=4, execute=execute)
    assert (outcome.ran, outcome.skipped) == (2, 4)
    assert set(execute.runs.values()) == {1}


def test_failed_trials_are_counted_and_are_rows_too(tmp_path, spec):
    outcome = run_sweep(spec, tmp_path, execute=Executor(fail=(2,)))
    assert (outcome.ran, outcome.failed) == (6, 2)
    statuses = [row["status"] for row in stored_rows(tmp_path)]
    assert statuses == ["ok", "ok", "error", "error", "ok", "ok"]


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_interrupted_sweep_goes_on_without_running_a_trial_twice(tmp_path, spec, capsys, jobs):
    interrupted = Executor(interrupt_at=3)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(spec, tmp_path, execute=interrupted)
    message = "interrupted: 3 of 6 results are stored; run the same sweep again to go on\n"
    assert capsys.readouterr().err == message
    resumed = Executor()
    outcome = run_sweep(spec, tmp_path, jobs=jobs, execute=resumed)
    assert (outcome.ran, outcome.skipped) == (3, 3)
    runs = interrupted.runs + resumed.runs
    assert runs == Counter(trial.key for trial in trials(spec))


def test_an_executor_that_raises_stops_the_sweep_and_keeps_what_is_done(tmp_path, spec):
    def broken(trial):
        if trial.depth == 2:
            raise RuntimeError("the cluster is gone")
        return {"status": "ok"}

    with pytest.raises(RuntimeError, match="the cluster is gone"):
        run_sweep(spec, tmp_path, execute=broken)
    assert len(stored_rows(tmp_path)) == 2


def test_a_changed_spec_keeps_what_it_still_asks_for(tmp_path, spec):
    run_sweep(spec, tmp_path, execute=Executor())
    grid = GridSpec(depth=(4, 8), batch=(8,), width=(32,))
    changed = SweepSpec(name="small", title="Another", grid=grid)
    outcome = run_sweep(changed, tmp_path, execute=Executor())
    assert (outcome.ran, outcome.skipped) == (1, 1)
    assert [row["depth"] for row in stored_rows(tmp_path)] == [4, 8]
    with ResultStore(tmp_path) as store:
        assert len(store.done()) == 7


def test_jobs_run_at_the_same_time_and_the_rows_keep_their_order(tmp_path, spec):
    together = threading.Barrier(3, timeout=10)

    def execute(trial):
        together.wait()  # passes only if three trials run at once
        time.sleep(0.01 * (5 - trial.depth))
        return {"status": "ok"}

    assert run_sweep(spec, tmp_path, jobs=3, execute=execute).ran == 6
    points = [(row["depth"], row["batch"]) for row in stored_rows(tmp_path)]
    assert points == [(1, 8), (1, 16), (2, 8), (2, 16), (4, 8), (4, 16)]


def test_results_are_stored_the_moment_they_exist(tmp_path, spec):
    seen = []

    def execute(trial):
        seen.append(len(stored_rows(tmp_path)))
        return {"status": "ok"}

    run_sweep(spec, tmp_path, execute=execute)
    assert seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_is_shown_on_a_terminal_only_if_it_is_wanted(
    tmp_path, spec, capsys, monkeypatch, progress
):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    run_sweep(spec, tmp_path, progress=progress, execute=Executor(fail=(1,)))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("6/6 2 failed" in captured.err) == progress
    assert "ran 6, skipped 0, failed 2" in captured.err


@pytest.mark.parametrize("name", ["limit", "jobs"])
def test_a_limit_and_jobs_must_be_positive(tmp_path, spec, name):
    with pytest.raises(InvalidValueError, match=f"{name} must be a positive integer, got 0"):
        run_sweep(spec, tmp_path, **{name: 0})


@pytest.fixture
def interruptible():
    """What a shell runs in the background is deaf to SIGINT: make this process listen."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_leaves_no_process_behind(tmp_path, spec, monkeypatch, jobs):
    pids = tmp_path / "pids"
    pids.mkdir()
    (tmp_path / "sleeping_trial.py").write_text(
        f"import os, pathlib, time\npathlib.Path({str(pids)!r}, str(os.getpid())).touch()\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(process, "MODULE", "sleeping_trial")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    stopper = threading.Thread(target=_interrupt_when_running, args=(pids, jobs))
    stopper.start()
    with pytest.raises(KeyboardInterrupt):
        run_sweep(spec, tmp_path / "out", jobs=jobs, execute=run_in_process)
    stopper.join()
    assert len(list(pids.iterdir())) == jobs
    for path in pids.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)
    assert not process._running


def _interrupt_when_running(pids, jobs):
    deadline = time.monotonic() + 20
    while len(list(pids.iterdir())) < jobs and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
