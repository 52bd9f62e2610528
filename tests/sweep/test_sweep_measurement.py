"""What came of a trial: one type from the process that measures to the table of results."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import memprop as mp
from memprop.errors import DataError
from memprop.probes import WITNESSES
from memprop.sweep.measurement import STATUSES, Measurement
from memprop.sweep.results import column_types
from memprop.terms import CATEGORIES

sizes = st.none() | st.integers(0, 2**63 - 1)
measurements = st.builds(
    Measurement,
    status=st.sampled_from(STATUSES),
    message=st.text(),
    predicted_peak=sizes,
    ledger_peak=sizes,
    witness_peaks=st.dictionaries(st.sampled_from(tuple(WITNESSES)), sizes),
    peak_by_category=st.dictionaries(st.sampled_from(CATEGORIES), st.integers(0, 2**63 - 1)),
    peak_operator=st.none() | st.text(),
    step_seconds=st.none() | st.floats(0, 1e6),
)


@given(measured=measurements)
def test_it_survives_json(measured):
    assert Measurement.from_json(measured.to_json()) == measured
    assert "\n" not in measured.to_json()


@given(measured=measurements)
def test_its_columns_are_columns_of_the_results(measured):
    assert measured.columns().keys() <= column_types().keys()


@given(first=measurements, second=measurements)
def test_what_is_measured_later_is_added_to_what_is_known(first, second):
    both = first.updated(second).columns()
    later = second.columns()
    assert both == {**first.columns(), **later}


def test_a_step_that_ran_has_a_ledger_and_a_simulated_one_a_prediction():
    model = mp.MLP([6, 5, 3])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 6)).astype("float32"), rng.integers(0, 3, 4)
    ran, simulated = mp.trace(model, x, y), mp.simulate(model, 4)
    measured = Measurement.of_step(simulated).updated(Measurement.of_step(ran))
    assert measured.status == "ok"
    assert measured.predicted_peak == measured.ledger_peak == ran.peak
    assert sum(measured.peak_by_category.values()) == ran.peak


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({}, "status: Field required"),
        ({"status": "fine"}, "status: .*'fine'"),
        ({"status": "ok", "ledger_peak": 1.5}, "ledger_peak: .* 1.5"),
        ({"status": "ok", "ledger_peak": "many"}, "ledger_peak: .*'many'"),
        ({"status": "ok", "step_seconds": math.nan}, "step_seconds: "),
        ({"status": "ok", "colour": "red"}, "colour: "),
        ([1], "object"),
    ],
)
def test_what_is_no_measurement_is_told_in_one_line(document, told):
    with pytest.raises(DataError, match=f"no measurement in JSON: .*{told}") as caught:
        Measurement.from_json(json.dumps(document))
    assert "\n" not in str(caught.value)
