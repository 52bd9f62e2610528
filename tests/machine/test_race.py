"""Core types are measured in processes that may crash, hang or give wrong products."""

import textwrap

import numpy as np
import pytest

from memprop.machine import products, race
from memprop.machine.blas import blas_of_numpy
from memprop.machine.check import MARGIN
from memprop.machine.choice import choice_of
from memprop.machine.core_types import nothing_to_choose, runnable
from memprop.machine.cpu import this_cpu

HEAD = """
import json, os, signal, sys
asked = os.environ.get("OPENBLAS_CORETYPE", "")

def ready(core_type, digest="same"):
    print(json.dumps({"core_type": core_type, "digest": digest}), flush=True)

def rounds(seconds):
    for _ in sys.stdin:
        print(json.dumps({"float32": [seconds] * 3, "float64": [2 * seconds] * 3}), flush=True)
"""


@pytest.fixture
def programme(tmp_path, monkeypatch):
    """Have something else in place of what measures products."""

    def stand_in(body):
        (tmp_path / "products.py").write_text(HEAD + textwrap.dedent(body))
        monkeypatch.setattr(race, "_PROGRAM", tmp_path / "products.py")
        monkeypatch.setattr(race, "_SECONDS", 0.0)

    return stand_in


def test_rates_follow_from_flops_and_medians(programme):
    programme("""
        ready(asked or "Haswell")
        rounds({"": 0.01, "SkylakeX": 0.005}[asked])
    """)
    found = race.measure(["SkylakeX"])
    flops = 2 * products.WIDTH**3
    assert found.own.core_type == "Haswell"
    assert found.own.gflops["float32"] == pytest.approx(flops / 0.01 / 1e9, abs=0.06)
    assert found.candidates[0].gflops["float64"] == pytest.approx(flops / 0.01 / 1e9, abs=0.06)
    assert choice_of(found).core_type == "SkylakeX"


def test_the_library_chooses_where_nothing_is_asked_whatever_the_user_has_set(
    programme, monkeypatch
):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    programme('ready(asked if "OPENBLAS_CORETYPE" in os.environ else "own")\nrounds(0.01)')
    found = race.measure(["Zen"])
    assert (found.own.core_type, found.candidates[0].core_type) == ("own", "Zen")


def test_each_process_has_one_thread(programme, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    programme('ready(os.environ["OPENBLAS_NUM_THREADS"])\nrounds(0.01)')
    assert race.measure().own.core_type == "1"


def test_an_illegal_instruction_is_survived_and_told(programme):
    programme("""
        if asked == "SkylakeX":
            os.kill(os.getpid(), signal.SIGILL)
        ready(asked or "Haswell")
        if asked == "Cooperlake":
            sys.stdin.readline()
            os.kill(os.getpid(), signal.SIGSEGV)
        rounds(0.01)
    """)
    found = race.measure(["SkylakeX", "Cooperlake", "Zen"])
    failures = [rates.failure for rates in found.candidates]
    assert failures == ["its process crashed: SIGILL", "its process crashed: SIGSEGV", ""]
    assert choice_of(found).core_type == ""


def test_a_process_that_hangs_is_killed(programme, monkeypatch):
    monkeypatch.setattr(race, "_PATIENCE_SECONDS", 1.0)
    programme("""
        ready(asked or "Haswell")
        if asked:
            signal.pause()
        rounds(0.01)
    """)
    found = race.measure(["SkylakeX"])
    assert "did not answer in time" in found.candidates[0].failure


def test_wrong_products_are_no_choice(programme):
    programme("""
        ready(asked or "Haswell", digest=asked)
        rounds(0.001 if asked else 0.01)
    """)
    found = race.measure(["SkylakeX"])
    assert "differ" in found.candidates[0].failure
    assert choice_of(found).core_type == ""


def test_what_the_library_takes_for_two_names_is_measured_once(programme):
    programme('ready("Haswell")\nrounds(0.01)')
    found = race.measure(["Haswell", "Zen"])
    assert [rates.failure for rates in found.candidates] == [
        "this library takes Haswell for it"
    ] * 2


def test_a_python_that_does_not_start_is_told(programme):
    programme("sys.exit(3)")
    found = race.measure(["Zen"])
    assert found.own.failure == "its process ended with status 3"


def test_a_python_that_prints_something_else_is_told(programme):
    programme('print("welcome")\nready("Haswell")\nrounds(0.01)')
    assert race.measure().own.failure == "its process said 'welcome'"


@pytest.mark.parametrize("dtype", products.DTYPES)
def test_products_are_the_same_integers_in_whatever_order_they_are_summed(dtype):
    forms = products._products(dtype)
    assert len(forms) == products.FORMS
    for a, b, out in forms:
        np.matmul(a, b, out=out)
        assert (out == a.astype(np.int64) @ b.astype(np.int64)).all()
    assert products.WIDTH * products._LARGEST**2 < 2**24


def test_the_check_of_this_machine_chooses_by_its_own_table(monkeypatch):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    cpu, blas = this_cpu(), blas_of_numpy()
    names = () if nothing_to_choose(cpu, blas) else runnable(cpu)
    found = race.measure(names)
    assert not found.own.failure
    assert tuple(rates.asked for rates in found.candidates) == names
    assert all(set(rates.gflops) == set(products.DTYPES) for rates in found.measured)
    choice = choice_of(found)
    gains = {rates.core_type: rates.times(found.own) for rates in found.measured}
    if choice.core_type:
        assert choice.core_type in names
        assert gains[choice.core_type] == max(gains.values())
    else:
        assert max(gains.values()) < MARGIN
