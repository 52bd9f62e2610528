import os
import re
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from memprop.errors import FolderInUseError, InvalidValueError, OutputError
from memprop.sweep.executors import process
from memprop.sweep.executors.names import executor_named
from memprop.sweep.executors.process import ProcessExecutor
from memprop.sweep.measurement import Measurement
from memprop.sweep.plan import trials
from memprop.sweep.runner import RunOptions, run_sweep
from memprop.sweep.spec import GridSpec, MeasureSpec, SweepSpec
from memprop.sweep.store import ResultStore, stored_rows


class Calling:
    """An executor that calls a function."""

    def __init__(self, function, jobs=1):
        self.function, self.jobs = function, jobs

    def __call__(self, trial):
        return self.function(trial)

    def stop(self):
        pass


class Executor:
    """Counts what it runs; raises or fails where it is told to."""

    def __init__(self, *, interrupt_at=None, fail=(), jobs=1):
        self.jobs = jobs
        self.runs = Counter()
        self.interrupt_at = interrupt_at
        self.fail = fail

    def __call__(self, trial):
        if sum(self.runs.values()) == self.interrupt_at:
            raise KeyboardInterrupt
        self.runs[trial.key] += 1
        status = "error" if trial.depth in self.fail else "ok"
        return Measurement(status=status)

    def stop(self):
        pass


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
    outcome = run_sweep(spec, tmp_path, options=RunOptions(fresh=True), execute=Executor())
    assert (outcome.ran, outcome.skipped, outcome.failed) == (6, 0, 0)
    assert {row["status"] for row in stored_rows(tmp_path)} == {"ok"}


def test_a_limit_is_kept_and_the_rest_comes_later(tmp_path, spec):
    execute = Executor()
    assert run_sweep(spec, tmp_path, options=RunOptions(limit=4), execute=execute).ran == 4
    outcome = run_sweep(spec, tmp_path, options=RunOptions(limit=4), execute=execute)
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
    resumed = Executor(jobs=jobs)
    outcome = run_sweep(spec, tmp_path, execute=resumed)
    assert (outcome.ran, outcome.skipped) == (3, 3)
    runs = interrupted.runs + resumed.runs
    assert runs == Counter(trial.key for trial in trials(spec))


def test_an_executor_that_raises_stops_the_sweep_and_keeps_what_is_done(tmp_path, spec):
    def broken(trial):
        if trial.depth == 2:
            raise RuntimeError("the cluster is gone")
        return Measurement(status="ok")

    with pytest.raises(RuntimeError, match="the cluster is gone"):
        run_sweep(spec, tmp_path, execute=Calling(broken))
    assert len(stored_rows(tmp_path)) == 2


def test_a_changed_spec_keeps_what_it_still_asks_for(tmp_path, spec, capsys):
    run_sweep(spec, tmp_path, execute=Executor())
    grid = GridSpec(depth=(4, 8), batch=(8,), width=(32,))
    changed = SweepSpec(name="small", title="Another", grid=grid)
    capsys.readouterr()
    outcome = run_sweep(changed, tmp_path, execute=Executor())
    told = capsys.readouterr().err.splitlines()[0]
    assert told == (
        "the specification has changed: 1 of its 2 trials are to be run; "
        "5 results that it no longer asks for are kept, unseen (--prune drops them)"
    )
    assert (outcome.ran, outcome.skipped) == (1, 1)
    assert [row["depth"] for row in stored_rows(tmp_path)] == [4, 8]
    with ResultStore(tmp_path) as store:
        assert len(store.statuses()) == 7
    outcome = run_sweep(changed, tmp_path, options=RunOptions(prune=True), execute=Executor())
    assert (outcome.ran, outcome.skipped) == (0, 2)
    assert "5 results that it no longer asks for are dropped (--prune)" in capsys.readouterr().err
    with ResultStore(tmp_path) as store:
        assert len(store.statuses()) == 2


def test_what_failed_is_run_again_only_if_that_is_wanted(tmp_path, spec):
    run_sweep(spec, tmp_path, execute=Executor(fail=(2,)))
    assert run_sweep(spec, tmp_path, execute=Executor()).ran == 0
    assert run_sweep(spec, tmp_path, options=RunOptions(retry=True), execute=Executor()).ran == 2
    assert {row["status"] for row in stored_rows(tmp_path)} == {"ok"}


def test_a_second_sweep_in_a_folder_is_refused_and_changes_nothing(tmp_path, spec):
    def second(trial):
        with pytest.raises(
            FolderInUseError, match=r"another sweep runs in .* \(process \d+ on"
        ) as e:
            run_sweep(spec, tmp_path, execute=Executor(), files={"spec.toml": "theirs"})
        assert "\n" not in str(e.value)
        return Measurement(status="ok")

    run_sweep(spec, tmp_path, execute=Calling(second), files={"spec.toml": "ours"})
    assert (tmp_path / "spec.toml").read_text() == "ours"
    assert len(stored_rows(tmp_path)) == 6
    assert not (tmp_path / ".lock").exists()


def test_a_lock_that_a_killed_sweep_left_is_no_lock(tmp_path, spec):
    (tmp_path / ".lock").write_text("process 1 on nowhere")
    assert run_sweep(spec, tmp_path, execute=Executor()).ran == 6


class FullDisk(ResultStore):
    """A store that has no room for a while."""

    room_from = 0

    def add(self, trial, measured):
        type(self).tries += 1
        if self.tries < self.room_from:
            raise OutputError("trials.sqlite cannot be used: database or disk is full")
        super().add(trial, measured)


@pytest.mark.parametrize("room_from", [4, 10**6])
def test_a_full_disk_loses_nothing_that_it_has_room_for_later(
    tmp_path, spec, monkeypatch, capsys, room_from
):
    FullDisk.room_from, FullDisk.tries = room_from, 0
    monkeypatch.setattr("memprop.sweep.runner.ResultStore", FullDisk)
    if room_from == 4:
        run_sweep(spec, tmp_path, execute=Executor())
        assert len(stored_rows(tmp_path)) == 6
    else:
        told = "6 of 6 results could not be stored, 0 of 6 results are stored: make room and run"
        with pytest.raises(OutputError, match=told):
            run_sweep(spec, tmp_path, execute=Executor())
        assert stored_rows(tmp_path) == []
    assert "a result could not be stored, it is tried again" in capsys.readouterr().err


def limited(limit, *batches):
    grid = GridSpec(depth=(4,), batch=batches, width=(128,))
    measure = MeasureSpec(witnesses=(), steps=1, repeats=1, memory_limit=limit)
    return SweepSpec(
        name="small", title="A limit between two batch sizes", grid=grid, measure=measure
    )


def test_what_is_predicted_to_run_out_of_memory_does(tmp_path, capsys):
    spec = limited("32 MiB", 4096, 16384)
    with ProcessExecutor() as execute:
        outcome = run_sweep(spec, tmp_path, execute=execute)
    told, which, *_ = capsys.readouterr().err.splitlines()
    assert told.startswith("1 of 2 trials are predicted to run out of memory, they are run all the")
    assert which == (
        "  train lean depth 4 batch 16384 width 128: predicted to take 49.0 MiB, "
        "more than the memory limit of 32.0 MiB"
    )
    assert (outcome.ran, outcome.failed) == (2, 1)
    fits, fails = stored_rows(tmp_path)
    assert (fits["status"], fails["status"]) == ("ok", "oom")
    assert fits["ledger_peak"] == fits["predicted_peak"] < 32 * 2**20 < fails["predicted_peak"]
    assert "out of memory" in fails["message"]


def test_what_is_predicted_to_run_out_of_memory_can_be_left_out(tmp_path, capsys):
    spec = limited("32 MiB", 64, 16384)
    with ProcessExecutor() as execute:
        outcome = run_sweep(spec, tmp_path, execute=execute, options=RunOptions(skip_oom=True))
    assert (outcome.ran, outcome.failed) == (1, 0)
    assert "they are skipped" in capsys.readouterr().err
    _, left_out = stored_rows(tmp_path)
    assert left_out["status"] == "skipped"
    assert "more than the memory limit of 32.0 MiB" in left_out["message"]
    assert left_out["predicted_peak"] > 32 * 2**20
    # And it is run when that is no longer wanted.
    assert run_sweep(spec, tmp_path, execute=Executor()).ran == 1


def test_jobs_run_at_the_same_time_and_the_rows_keep_their_order(tmp_path, spec):
    together = threading.Barrier(3, timeout=10)

    def execute(trial):
        together.wait()  # passes only if three trials run at once
        time.sleep(0.01 * (5 - trial.depth))
        return Measurement(status="ok")

    assert run_sweep(spec, tmp_path, execute=Calling(execute, 3)).ran == 6
    points = [(row["depth"], row["batch"]) for row in stored_rows(tmp_path)]
    assert points == [(1, 8), (1, 16), (2, 8), (2, 16), (4, 8), (4, 16)]


def test_results_are_stored_the_moment_they_exist(tmp_path, spec):
    seen = []

    def execute(trial):
        seen.append(len(stored_rows(tmp_path)))
        return Measurement(status="ok")

    run_sweep(spec, tmp_path, execute=Calling(execute))
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


def test_a_limit_and_jobs_must_be_positive(tmp_path, spec):
    with pytest.raises(InvalidValueError, match="limit must be a positive integer, got 0"):
        run_sweep(spec, tmp_path, execute=Executor(), options=RunOptions(limit=0))
    with pytest.raises(InvalidValueError, match="jobs must be a positive integer, got 0"):
        executor_named("process", jobs=0)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"name": "slurm"}, "unknown executor 'slurm'"),
        ({"name": "proces"}, "did you mean 'process'"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "a scheduler is for --executor dask"),
        ({"name": "dask", "jobs": 3}, "jobs is for --executor process"),
    ],
)
def test_an_executor_that_cannot_be_is_refused(how, message):
    with pytest.raises(InvalidValueError, match=message):
        executor_named(**how)


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
        "import os, pathlib, time\ndef main(request):\n"
        f"    pathlib.Path({str(pids)!r}, str(os.getpid())).touch()\n    time.sleep(60)\n"
    )
    monkeypatch.setattr(process, "MODULE", "sleeping_trial")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    stopper = threading.Thread(target=_interrupt_when_running, args=(pids, jobs))
    stopper.start()
    with pytest.raises(KeyboardInterrupt), ProcessExecutor(jobs) as execute:
        run_sweep(spec, tmp_path / "out", execute=execute)
    stopper.join()
    assert len(list(pids.iterdir())) == jobs
    for path in pids.iterdir():
        _wait_until_gone(int(path.name))


def _wait_until_gone(pid):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} still runs")


def _interrupt_when_running(pids, jobs):
    deadline = time.monotonic() + 20
    while len(list(pids.iterdir())) < jobs and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def test_the_same_sweep_twice_gives_the_same_memory_to_the_byte(tmp_path):
    grid = GridSpec(depth=(1, 3), batch=(32, 128), width=(64,), schedule=("textbook", "sqrt"))
    measure = MeasureSpec(witnesses=("tracemalloc",), steps=1, repeats=1)
    spec = SweepSpec(name="twice", title="Twice", grid=grid, measure=measure)
    for name in ("first", "second"):
        with ProcessExecutor(2) as execute:
            run_sweep(spec, tmp_path / name, execute=execute)
    timed = {"step_seconds", "started", "seconds"}
    first, second = (
        [{n: v for n, v in row.items() if n not in timed} for row in stored_rows(tmp_path / name)]
        for name in ("first", "second")
    )
    assert len(first) == 8
    assert first == second
