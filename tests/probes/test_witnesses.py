"""A witness of one's own is a choice, a column, a comparison and a row of the doctor."""

from contextlib import contextmanager

import pandas as pd
import pytest

import memprop as mp
from memprop.doctor import witnesses
from memprop.doctor.known_step import STEP_BYTES
from memprop.probes import WITNESSES, Bound, Witness
from memprop.report.comparison import compare
from memprop.report.frames import agreements
from memprop.sweep.results import column_types, frame
from memprop.sweep.spec import MeasureSpec

HERS = Witness(
    name="hers",
    measure=lambda step: None,
    bound=Bound("1 MiB", lambda growth: 0 * growth + (1 << 20)),
    why_not=lambda: "nobody knows",
)


@contextmanager
def registered(witness):
    mp.register(witness)
    try:
        yield
    finally:
        WITNESSES.remove(witness.name)


def row(seen):
    return {
        "depth": 1, "batch": 2, "width": 3, "mode": "train", "schedule": "lean", "status": "ok",
        "ledger_peak": 100, "predicted_peak": 100, "persistent_bytes": 10, "hers_peak": seen,
    }  # fmt: skip


def test_a_specification_may_ask_for_it_in_its_place():
    with registered(HERS):
        assert MeasureSpec(witnesses=["hers", "kernel"]).witnesses == ("kernel", "hers")
    with pytest.raises(ValueError, match="hers"):
        MeasureSpec(witnesses=["hers"])


def test_results_have_its_column_behind_those_of_ours():
    ours = list(column_types())
    with registered(HERS):
        assert [name for name in column_types() if name not in ours] == ["hers_peak"]
        assert frame([row(130)])["hers_peak"].dtype == pd.Int64Dtype()


def test_the_report_holds_it_to_its_bound_and_compares_it():
    with registered(HERS):
        results = frame([row(130), {**row(5 << 20), "batch": 4}])
        (found,) = [each for each in agreements(results) if each.witness == "hers"]
        assert (found.bound, found.broken, found.worst) == ("1 MiB", 1, (5 << 20) - 100)
        assert compare(results, results)["hers_peak_difference"].tolist() == [0, 0]


def test_the_doctor_says_whether_it_works():
    with registered(HERS):
        good, off, none = (
            next(iter(witnesses.findings({"hers": size})))
            for size in (STEP_BYTES + 1000, STEP_BYTES + (2 << 20), None)
        )
        assert (good.status, off.status) == ("good", "notice")
        assert "nobody knows" in none.says
