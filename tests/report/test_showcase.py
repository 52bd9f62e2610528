"""The committed showcase is what this version of memprop predicts."""

from pathlib import Path

import pandas as pd
import pytest

import memprop as mp

SHOWCASE = Path(__file__).parents[2] / "reports" / "showcase"


@pytest.mark.skipif(not SHOWCASE.exists(), reason="the showcase comes with a checkout only")
def test_every_peak_of_the_showcase_is_predicted():
    results = pd.read_csv(SHOWCASE / "results.csv")
    assert len(results) == 60
    assert (results["status"] == "ok").all()
    for row in results.itertuples():
        model = mp.MLP([64, *[row.width] * row.depth, 10], activation=row.activation)
        trace = mp.simulate(model, row.batch, schedule=row.schedule, mode=row.mode)
        assert trace.peak == row.ledger_peak
        assert trace.saved_bytes == row.saved_bytes
        assert trace.about["flops"] == row.flops
