"""A core type is chosen by what was measured, and only by a clear margin."""

import json
import math
from dataclasses import asdict

import pytest
from machine_cases import check, rates

from memprop.documents import from_json
from memprop.machine.check import MARGIN, Check, Rates
from memprop.machine.choice import choice_of, summary


def test_the_fastest_is_chosen():
    found = check(100, rates("Zen", 120), rates("SkylakeX", 185), rates("Cooperlake", 184))
    choice = choice_of(found)
    assert (choice.core_type, choice.by) == ("SkylakeX", "measured")
    assert choice.reason == "1.85 times as fast as Haswell"
    assert choice.variables == {"OPENBLAS_CORETYPE": "SkylakeX", "MEMPROP_BLAS": "measured"}


@pytest.mark.parametrize("gain", [0.5, 1.0, MARGIN - 0.001])
def test_within_the_margin_the_library_is_left_alone(gain):
    choice = choice_of(check(100, rates("SkylakeX", 100 * gain)))
    assert (choice.core_type, choice.variables) == ("", {})


def test_both_dtypes_count_alike():
    both = rates("SkylakeX", 150, 40)
    assert both.times(rates("Haswell", 100, 50)) == pytest.approx(math.sqrt(1.5 * 0.8))


def test_what_crashed_is_not_chosen():
    crashed = Rates("SkylakeX", "", {}, "its process crashed: SIGILL")
    assert choice_of(check(100, crashed)).core_type == ""


def test_without_a_measurement_the_library_is_left_alone():
    failed = Check(Rates("", failure="its process ended with status 1"), (rates("Zen", 100),))
    choice = choice_of(failed)
    assert (choice.core_type, choice.by) == ("", "library")
    assert "ended with status 1" in summary(failed)


def test_a_check_comes_back_from_json():
    found = check(100, rates("SkylakeX", 185), Rates("Zen", "Haswell", {}, "taken"))
    assert from_json(Check, json.dumps(asdict(found))) == found


@pytest.mark.parametrize("rate", [0, -1, math.nan, "fast", None])
def test_rates_that_cannot_be_are_refused(rate):
    document = asdict(check(100))
    document["own"]["gflops"]["float32"] = rate
    with pytest.raises(ValueError, match=r"own\.gflops\.float32"):
        from_json(Check, json.dumps(document))
