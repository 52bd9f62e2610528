"""Contenders as real processes, and the report of a small run of them."""

from dataclasses import replace

import pandas as pd
import pytest

from experiments.benchmarks import __main__, memory, step_time
from experiments.benchmarks.__main__ import main
from experiments.benchmarks.contest import Contest
from experiments.benchmarks.contestant import ROOT, ContenderFailed
from experiments.benchmarks.effort import QUICK, SMALLEST, arguments
from experiments.benchmarks.lineup import ENGINE, LIMIT, Contender, contender
from experiments.benchmarks.report import markdown, write_report
from experiments.benchmarks.section import failed_section
from memprop.probes.kernel import ENVIRONMENT, available
from memprop.sweep.environment import environment

EFFORT = replace(QUICK, shapes=(SMALLEST,), rounds=2, seconds=0.01)
ABSENT = Contender("absent", ("gemm",), package="no_such_package")


def test_a_small_run_writes_a_whole_report(tmp_path):
    contenders = [contender(LIMIT, 1), contender(ENGINE, 1), ABSENT]
    section = step_time.run(EFFORT, contenders)
    page = write_report(tmp_path, {"step_time": section}, load=0.5).read_text(encoding="utf-8")
    numbers = pd.read_csv(tmp_path / "step_time.csv")
    assert list(numbers["contender"]) == [LIMIT, ENGINE, "absent"]
    assert list(numbers["rounds"]) == [2, 2, 0]
    assert (numbers["seconds"][:2] > 0).all()
    assert numbers["note"][2] == "not installed"
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert any(str(SMALLEST) in row and "not installed" in row for row in rows)
    for word in (
        "python -m experiments.benchmarks",
        "numpy",
        "OPENBLAS_CORETYPE",
        "cores",
        "load before the run 0.5",
    ):
        assert word in page.replace("\n", " ")


def test_a_contender_that_fails_is_reported_and_started_again():
    engine = contender(ENGINE, 1)
    with Contest([engine]) as contest:
        (bad,) = contest.race({**arguments(SMALLEST, None), "update": "nonsense"}, 1, 0.0)
        assert bad.note.startswith("failed: ")
        assert "nonsense" in bad.note
        (good,) = contest.race(arguments(SMALLEST, None), 1, 0.0)
        assert not good.note
        assert len(good.rounds) == 1


def test_a_contender_that_is_no_module_is_reported():
    with Contest([]) as contest, pytest.raises(ContenderFailed, match="No module named"):
        contest.ask(Contender("nobody", ("nobody",)), "prepare")


def test_a_benchmark_that_fails_is_a_part_of_the_report():
    sections = {"ledger": failed_section("ledger", "failed: killed")}
    page = markdown(sections, {**environment(), "load": 0.0})
    assert "| ledger | runs to its end | failed: killed | **no** |" in page


def test_without_a_name_all_benchmarks_are_run(tmp_path, monkeypatch):
    ran = []
    fake = {n: lambda effort, n=n: ran.append((n, effort)) or failed_section(n, "") for n in "ab"}
    monkeypatch.setattr(__main__, "BENCHMARKS", fake)
    main(["--quick", "--out", str(tmp_path)])
    assert ran == [("a", QUICK), ("b", QUICK)]
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "a.csv", "b.csv"}


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["step_tim"])
    assert "did you mean 'step_time'?" in capsys.readouterr().err


@pytest.mark.skipif(available() is not None, reason=str(available()))
def test_the_kernel_sees_of_a_step_what_the_ledger_says():
    who = contender(ENGINE, 1, ENVIRONMENT)
    shape = replace(SMALLEST, width=1024, batch=256)
    with Contest([who]) as contest:
        contest.ask(who, "prepare", **arguments(shape, None), allocator="heap", anew=True)
        growth = contest.ask(who, "growth")
    samples = shape.batch * (64 * 4 + 8)
    expected = memory.ledger_bytes(shape, None) + samples
    assert growth == pytest.approx(expected, rel=0.005, abs=512 * 1024)


def test_peers_and_the_limit_load_nothing_of_memprop():
    for module in ("gemm", "pytorch", "jax_jit", "high_water", "serve"):
        source = (ROOT / "experiments/benchmarks/contenders" / f"{module}.py").read_text()
        assert "import memprop" not in source
        assert "from memprop" not in source
