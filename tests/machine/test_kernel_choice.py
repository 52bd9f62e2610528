"""Who chooses the kernels, and what becomes of the choice."""

import json
import os
import subprocess
import sys
import threading

import pytest
from machine_cases import OPENBLAS, check, cpu, rates

from memprop.cli import run
from memprop.errors import InvalidValueError
from memprop.machine import cache, choice, program
from memprop.machine.check import Check, Rates
from memprop.machine.choice import Choice, chosen, known_check

FAST = check(100, rates("SkylakeX", 185))


@pytest.fixture
def machine(cache_home, monkeypatch):
    """A machine with AVX-512 and OpenBLAS, whose check counts how often it is made."""
    made = []

    def measure(names):
        made.append(names)
        return FAST

    for name in ("MEMPROP_BLAS", "OPENBLAS_CORETYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(choice, "this_cpu", cpu)
    monkeypatch.setattr(choice, "blas_of_numpy", lambda: OPENBLAS)
    monkeypatch.setattr(choice, "measure", measure)
    return made


def test_the_choice_is_measured_once_and_said_on_stderr(machine, capsys):
    assert chosen().core_type == "SkylakeX"
    out, err = capsys.readouterr()
    assert out == ""
    assert "once" in err
    assert "SkylakeX, 1.85 times as fast as Haswell" in err
    choice._known.clear()  # as in another process
    assert chosen().core_type == "SkylakeX"
    assert machine == [("Haswell", "Zen", "SkylakeX")]
    assert capsys.readouterr().err == ""


def test_what_the_user_has_set_holds(machine, monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert (chosen().core_type, chosen().by, chosen().variables) == ("Haswell", "user", {})
    assert machine == []


def test_the_check_can_be_switched_off(machine, monkeypatch):
    monkeypatch.setenv("MEMPROP_BLAS", "off")
    assert (chosen().core_type, chosen().by) == ("", "library")
    assert machine == []


def test_another_value_of_the_switch_is_refused(machine, monkeypatch):
    monkeypatch.setenv("MEMPROP_BLAS", "no")
    with pytest.raises(InvalidValueError, match="must be 'off' or not set, got 'no'"):
        chosen()


def test_a_process_that_was_started_with_the_choice_does_not_measure(machine, monkeypatch):
    for name, value in chosen().variables.items():
        monkeypatch.setenv(name, value)
    again = chosen()
    assert (again.core_type, again.by, again.check) == ("SkylakeX", "measured", FAST)
    assert len(machine) == 1


def test_where_there_is_no_choice_nothing_is_measured(machine, monkeypatch):
    monkeypatch.setattr(choice, "this_cpu", lambda: cpu({"asimd"}, "aarch64"))
    assert (chosen().by, chosen().variables) == ("library", {})
    assert "aarch64" in chosen().reason
    assert machine == []


def test_threads_wait_for_one_check(machine):
    threads = [threading.Thread(target=chosen) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(machine) == 1


def test_fresh_measures_anew(machine):
    known_check(cpu(), OPENBLAS)
    known_check(cpu(), OPENBLAS, fresh=True)
    assert len(machine) == 2


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"key": 1}', "\x00", '{"key": {"own": {"gflops": []}}}']
)
def test_a_damaged_cache_is_measured_anew_and_replaced(machine, text):
    file = cache.cache_file()
    file.parent.mkdir(parents=True)
    file.write_text(text.replace("key", cache.key_of(cpu(), OPENBLAS)))
    assert chosen().core_type == "SkylakeX"
    assert len(machine) == 1
    assert cache.remembered(cache.key_of(cpu(), OPENBLAS)) == FAST


def test_a_cache_that_cannot_be_written_is_no_error(machine, cache_home):
    (cache_home / "memprop").write_text("a file where the folder should be")
    assert chosen().core_type == "SkylakeX"


def test_a_failed_check_is_not_remembered(machine, monkeypatch):
    failed = Check(Rates("", failure="its process ended with status 1"))
    monkeypatch.setattr(choice, "measure", lambda _: failed)
    assert chosen().variables == {}
    assert not cache.cache_file().exists()


def test_where_no_process_starts_the_library_is_left_alone(machine, monkeypatch):
    def refused(_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(choice, "measure", refused)
    assert (chosen().by, chosen().variables) == ("library", {})
    assert "temporarily unavailable" in chosen().reason


def test_checks_of_other_machines_stay(machine):
    cache.remember("another", check(50))
    chosen()
    assert cache.remembered("another") == check(50)


@pytest.mark.parametrize("other", [cpu({"avx2", "fma"}), cpu(cores=4)])
def test_a_check_holds_for_one_machine(other):
    assert cache.key_of(other, OPENBLAS) != cache.key_of(cpu(), OPENBLAS)


def test_the_cache_is_in_the_users_folder(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(cache.cache_file()).startswith("/home/somebody/")


# What becomes of it


def test_the_servers_of_a_sweep_start_with_the_choice(machine):
    from memprop.sweep.executors.process import ProcessExecutor

    for quiet in (True, False):
        environment = ProcessExecutor()._environment(quiet=quiet)
        assert environment["OPENBLAS_CORETYPE"] == "SkylakeX"


def test_the_environment_says_who_chose_and_what_was_measured(machine, monkeypatch):
    from memprop.sweep.environment import environment

    kernels = json.loads(json.dumps(environment(chosen())))["blas"]["kernels"]
    assert kernels == {
        "core_type": "SkylakeX",
        "chosen_by": "measured",
        "gflops_of_one_core": {
            "Haswell": {"float32": 100.0, "float64": 50.0},
            "SkylakeX": {"float32": 185.0, "float64": 92.5},
        },
    }
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert environment(chosen())["blas"]["kernels"]["chosen_by"] == "user"
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    assert environment()["blas"]["kernels"]["chosen_by"] == "library"


@pytest.fixture
def replaced(monkeypatch):
    """What would have taken the place of this process."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "-m", "memprop", "profile"])
    return calls


def test_a_program_starts_again_as_it_was_started_with_the_choice(machine, replaced):
    program.start_again_with(chosen())
    ((path, command, environment),) = replaced
    assert path == sys.executable
    assert command == [sys.executable, "-X", "dev", "-m", "memprop", "profile"]
    assert environment == {**os.environ, **chosen().variables}


def test_a_program_does_not_start_again_for_nothing(replaced, monkeypatch):
    program.start_again_with(Choice("", "measured", ""))
    program.start_again_with(Choice("Haswell", "user", ""))
    monkeypatch.setenv("OPENBLAS_CORETYPE", "SkylakeX")
    program.start_again_with(Choice("SkylakeX", "measured", ""))
    assert replaced == []


def test_a_program_that_cannot_start_again_goes_on(machine, monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(os, "execve", refused)
    program.start_again_with(chosen())


@pytest.mark.parametrize(
    ("arguments", "program_itself", "starts_again"),
    [
        (["profile", "--depth", "1"], True, True),
        (["profile", "--depth", "1"], False, False),  # called from Python: NumPy is in use
        (["profile", "--help"], True, False),
        (["simulate"], True, False),
        (["--version"], True, False),
        ([], True, False),
    ],
)
def test_only_a_program_that_computes_starts_again(
    machine, replaced, capsys, arguments, program_itself, starts_again
):
    assert run(arguments, program=program_itself) == 0
    assert len(replaced) == starts_again


def test_the_command_starts_again_with_the_kernels_in_its_cache(cache_home, monkeypatch, tmp_path):
    from memprop.machine.blas import blas_of_numpy
    from memprop.machine.core_types import nothing_to_choose
    from memprop.machine.cpu import this_cpu

    here, blas = this_cpu(), blas_of_numpy()
    if reason := nothing_to_choose(here, blas):
        pytest.skip(reason)
    name = "Haswell"  # whoever has AVX2 can run it
    found = Check(rates("", 1, core_type="Nehalem"), (rates(name, 2),))
    cache.remember(cache.key_of(here, blas), found)
    (tmp_path / "mine.py").write_text(
        "import os, sys\n"
        "from memprop.machine.blas import blas_of_numpy\n"
        "def make():\n"
        "    print(blas_of_numpy().core_type, os.environ['MEMPROP_BLAS'], file=sys.stderr)\n"
        "    return lambda profiler: profiler.watch(__import__('numpy').ones(4), 'x')\n"
    )
    environment = {
        k: v for k, v in os.environ.items() if k not in ("MEMPROP_BLAS", "OPENBLAS_CORETYPE")
    }
    done = subprocess.run(
        [sys.executable, "-m", "memprop", "profile", "mine.py:make", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[1:] == [f"{name} measured"]
    assert json.loads(done.stdout)["factory"] == "mine.py:make"
