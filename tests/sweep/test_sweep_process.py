import json
import os
import platform
import signal
import textwrap
import threading
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from memprop.probes.kernel import ENVIRONMENT
from memprop.sweep.executors import process
from memprop.sweep.executors.process import ProcessExecutor
from memprop.sweep.measurement import STATUSES
from memprop.sweep.plan import trials

READ = "trial = json.loads(json.loads(request)['trial'])\n"


@pytest.fixture
def trial(spec):
    return trials(spec)[2]


@pytest.fixture
def run(tmp_path, monkeypatch, trial):
    """Run a script in place of what measures a trial."""

    def script(text, timeout_seconds=30.0, during=lambda _: None):
        body = textwrap.indent(text, "    ")
        head = "import json, os, signal, sys, time\n\ndef main(request):\n"
        (tmp_path / "stand_in_trial.py").write_text(head + body)
        monkeypatch.setattr(process, "MODULE", "stand_in_trial")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        with ProcessExecutor() as execute:
            during(execute)
            found = execute(replace(trial, timeout_seconds=timeout_seconds))
        assert found.status in STATUSES
        return found

    return script


def test_the_measurement_of_the_process_is_returned_with_where_and_when(run):
    before = datetime.now().astimezone()
    found = run(READ + "print(json.dumps({'status': 'ok', 'ledger_peak': trial['width'] * 2**60}))")
    assert (found.status, found.message) == ("ok", "")
    assert found.ledger_peak == 32 * 2**60
    assert found.host == platform.node()
    assert abs((datetime.fromisoformat(found.started) - before).total_seconds()) < 5
    assert found.started.endswith("+00:00")
    assert 0 < found.seconds < 30


def test_the_process_has_the_environment_that_the_kernel_probe_needs(run):
    text = "print(json.dumps({'status': 'ok', 'message': json.dumps(dict(os.environ))}))"
    environment = json.loads(run(READ + text).message)
    assert ENVIRONMENT
    assert environment | ENVIRONMENT == environment
    assert environment["PATH"] == os.environ["PATH"]


def test_what_a_library_prints_before_the_measurement_does_no_harm(run):
    assert run(READ + "print('hello')\nprint('{\"status\": \"oom\"}\\n')").status == "oom"


def test_a_slow_process_is_killed_and_told(run):
    clock = time.perf_counter()
    found = run("import time\ntime.sleep(60)", timeout_seconds=0.5)
    assert (found.status, found.message) == ("timeout", "ran longer than 500.0 ms")
    assert time.perf_counter() - clock < 10


def test_a_process_is_killed_with_all_that_it_started(run, tmp_path):
    children = tmp_path / "children"
    children.mkdir()
    text = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(children)!r}, str(child.pid)).touch()\n"
        "time.sleep(60)\n"
    )
    found = run(text, timeout_seconds=3.0)
    assert found.status == "timeout"
    (child,) = children.iterdir()
    assert _ended(int(child.name))


def test_what_was_known_before_a_process_was_killed_is_kept(run):
    line = '{"status": "simulated", "predicted_peak": 7}'
    found = run(f"print({line!r}, flush=True)\ntime.sleep(60)", 1.0)
    assert (found.status, found.predicted_peak) == ("timeout", 7)
    found = run(f"print({line!r}, flush=True)\nos.kill(os.getpid(), 9)")
    assert (found.status, found.predicted_peak) == ("killed", 7)


def test_a_server_that_disappears_takes_its_trial_with_it_and_is_replaced(run, tmp_path):
    pids = tmp_path / "pids"
    pids.mkdir()
    text = (
        f"open({str(pids)!r} + f'/{{os.getppid()}} {{os.getpid()}}', 'w').close()\ntime.sleep(60)"
    )
    killers = []

    def kill_the_server(execute):
        killers.append(threading.Thread(target=_kill_the_first, args=(pids,)))
        killers[0].start()

    found = run(text, during=kill_the_server)
    killers[0].join()
    assert found.status == "killed"
    assert found.message.startswith("the process that starts trials ended")
    (names,) = pids.iterdir()
    assert _ended(int(names.name.split()[1]))


def test_a_stopped_executor_starts_anew_when_it_is_called_again(trial):
    with ProcessExecutor() as execute:
        quick = replace(trial, witnesses=(), steps=1, repeats=1)
        assert execute(quick).status == "ok"
        execute.stop()
        assert execute(quick).status == "ok"


def test_a_process_killed_for_memory_is_told(run):
    found = run(READ + "os.kill(os.getpid(), signal.SIGKILL)")
    assert found.status == "killed"
    assert found.message.startswith("killed by SIGKILL: the machine may have run out of memory")


def test_a_process_that_crashes_is_told_with_its_signal(run):
    found = run(READ + "os.kill(os.getpid(), signal.SIGSEGV)")
    assert (found.status, found.message) == ("killed", "killed by SIGSEGV")


def test_a_signal_without_a_name_has_a_number(run):
    found = run(READ + "os.kill(os.getpid(), 40)")
    assert (found.status, found.message) == ("killed", "killed by signal 40")


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("raise ValueError('batch is too large')", "error", "ValueError: batch is too large"),
        ("sys.exit(3)", "error", "exit status 3 and no message"),
        ("raise MemoryError", "oom", "MemoryError"),
        ("sys.exit('numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8. GiB')", "oom",
         "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8. GiB"),
        ("pass", "error", "the trial wrote no measurement but ''"),
        ("print('{\"status\": \"fine\"}')", "error",
         "the trial wrote no measurement but '{\"status\": \"fine\"}'"),
        ("print('[1, 2]')", "error", "the trial wrote no measurement but '[1, 2]'"),
        ("print('{\"status\": []}')", "error",
         "the trial wrote no measurement but '{\"status\": []}'"),
        ("sys.stdout.buffer.write(b'\\xff')", "error",
         "the trial wrote no measurement but '\ufffd'"),
    ],
)  # fmt: skip
def test_whatever_goes_wrong_is_a_measurement(run, text, status, message):
    found = run(READ + text)
    assert (found.status, found.message) == (status, message)


def test_a_process_that_does_not_read_its_trial_is_no_trouble(run):
    assert run("import sys\nsys.exit('not interested')").message == "not interested"


def test_a_python_that_is_not_there_is_a_measurement(run, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    found = run("")
    assert found.status == "error"
    assert found.message.startswith("the process did not start: ")


def _kill_the_first(folder):
    deadline = time.monotonic() + 20
    while not list(folder.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    (names,) = folder.iterdir()
    os.kill(int(names.name.split()[0]), signal.SIGKILL)


def _ended(pid):
    """Whether the process is gone, or only waits for a parent to take note."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False
