"""Two sets of results are compared trial by trial."""

import pytest
from test_report import row

from memprop.report.comparison import cells, compare, summarize
from memprop.sweep.results import frame


@pytest.fixture
def pair():
    first = [row(1, 8, peak=1000, step_seconds=1.0), row(2, 8, peak=2000, step_seconds=2.0)]
    second = [row(2, 8, peak=1500, step_seconds=3.0), row(4, 8, peak=4000, step_seconds=4.0)]
    return frame(first), frame(second)


def test_each_trial_of_either_set_is_a_row(pair):
    table = compare(*pair)
    assert list(table["depth"]) == [1, 2, 4]
    assert list(table["in"]) == ["first", "both", "second"]
    both = table.iloc[1]
    assert (both["ledger_peak_first"], both["ledger_peak_second"]) == (2000, 1500)
    assert both["ledger_peak_difference"] == -500
    assert both["step_ratio"] == 1.5
    assert table["ledger_peak_difference"].isna().sum() == 2


def test_what_differs_is_told(pair):
    lines = " ".join(summarize(compare(*pair)))
    assert "Trials in both: 1; only in the first: 1; only in the second: 1." in lines
    assert "ledger_peak: differs in 1 of 1 trials, most by -500 B (train lean, depth 2" in lines
    assert "takes 1.50 times as long in the median" in lines
    assert list(cells(compare(*pair))["difference"]) == ["-500"]


def test_the_same_results_are_the_same(pair):
    lines = summarize(compare(pair[0], pair[0]))
    assert "ledger_peak: the same in all 2 trials, to the byte." in lines
    assert cells(compare(pair[0], pair[0])).empty


def test_a_trial_that_ended_otherwise_is_told(pair):
    failed = pair[0].copy()
    failed.loc[0, "status"] = "oom"
    failed.loc[0, ["ledger_peak", "step_seconds"]] = None
    table = compare(pair[0], failed)
    assert "1 trials ended otherwise in the second than in the first." in summarize(table)
    assert list(cells(table)["second"]) == ["oom"]
