"""memprop doctor prints what was found, for people and for machines."""

import json

import pytest

from memprop.cli import run
from memprop.doctor import examine as examination
from memprop.doctor import witnesses
from memprop.doctor.known_step import STEP_BYTES
from memprop.machine import cache, cgroup, choice, cpu
from memprop.machine.check import Check, Rates
from memprop.probes import WITNESSES

RATES = {"float32": 100.0, "float64": 50.0}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Checks that were made: none of them really, nor witnesses tried."""
    calls = []

    def measure(names):
        calls.append(names)
        return Check(Rates("", "Haswell", RATES))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(choice, "_known", {})
    monkeypatch.setattr(choice, "measure", measure)
    monkeypatch.setattr(witnesses, "seen_by_all", lambda: dict.fromkeys(WITNESSES, STEP_BYTES))
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.delenv("MEMPROP_BLAS", raising=False)
    return calls


def document(capsys, *arguments):
    status = run(["doctor", "--json", *arguments])
    return status, json.loads(capsys.readouterr().out)


def test_it_is_one_document_with_every_section(made, capsys):
    status, found = document(capsys)
    assert status == 0
    sections = list(dict.fromkeys(finding["section"] for finding in found["findings"]))
    assert sections == [
        "BLAS", "threads", "huge pages", "allocator", "witnesses", "memory", "extras",
    ]  # fmt: skip
    assert all(f["do"] for f in found["findings"] if f["status"] == "problem")
    assert found["check"]["own"]["gflops"] == RATES
    assert found["blas"]["name"]


def test_it_measures_once_and_fresh_measures_anew(made, capsys):
    document(capsys)
    document(capsys)
    assert len(made) == 1
    document(capsys, "--fresh")
    assert len(made) == 2
    assert cache.cache_file().exists()


def test_it_does_not_measure_where_that_is_off_unless_asked_to(made, capsys, monkeypatch):
    monkeypatch.setenv("MEMPROP_BLAS", "off")
    _, found = document(capsys)
    assert (found["check"], made) == (None, [])
    document(capsys, "--fresh")
    assert len(made) == 1


def test_a_problem_is_the_exit_status(made, capsys, monkeypatch):
    monkeypatch.setattr(witnesses, "seen_by_all", lambda: {"kernel": "OSError: no"})
    status, found = document(capsys)
    assert (status, found["status"]) == (1, "problem")


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_the_table_is_no_wider_than_the_terminal_and_without_colour_when_piped(
    made, capsys, monkeypatch, width
):
    from rich.console import Console

    from memprop.cli import output
    from memprop.doctor import extras

    monkeypatch.setattr(extras, "EXTRAS", {"torch": "no-such-distribution"})
    monkeypatch.setattr(output, "console", lambda: Console(width=int(width), highlight=False))
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= int(width)
    assert "\x1b" not in out
    assert "witnesses" in out
    assert "-> pip install" in out


def test_without_proc_it_says_what_cannot_be_known(made, capsys, monkeypatch, tmp_path):
    from memprop.doctor import allocator, pages

    absent = tmp_path / "absent"
    for module, name in (
        (cpu, "_CPUINFO"), (cgroup, "_OWN"), (pages, "_SETTING"), (allocator, "_MAPS"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, absent)
    status, found = document(capsys)
    assert status == 0
    assert made == [()]  # no core type is tried that might crash
    text = " ".join(finding["says"] for finding in found["findings"])
    for part in ("does not tell whether it uses huge pages", "No limit of a container"):
        assert part in text


def test_the_worst_finding_is_the_status_of_all(made):
    assert examination.examine().status in ("good", "notice")
