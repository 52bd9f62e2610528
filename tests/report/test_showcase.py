"""The committed showcase is what this version of memprop predicts and writes."""

import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

import memprop as mp
from memprop.report.write import write_report
from memprop.sweep.examples import load_examples, store_examples
from memprop.sweep.spec import load_spec

SHOWCASE = Path(__file__).parents[2] / "reports" / "showcase"

pytestmark = pytest.mark.skipif(
    not SHOWCASE.exists(), reason="the showcase comes with a checkout only"
)


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


def test_its_stored_steps_are_what_is_simulated_today(tmp_path):
    shutil.copy(SHOWCASE / "results.parquet", tmp_path)
    store_examples(load_spec(SHOWCASE / "spec.toml"), tmp_path)
    # Not by their bytes: versions of Python compress differently.
    today, committed = load_examples(tmp_path), load_examples(SHOWCASE)
    assert list(today.steps) == list(committed.steps)
    for name, trace in today.steps.items():
        assert trace == committed.steps[name]
        assert dict(trace.about) == dict(committed.steps[name].about)
    assert (tmp_path / "frontiers.csv").read_bytes() == (SHOWCASE / "frontiers.csv").read_bytes()


def test_the_showcase_is_what_its_results_give_today(tmp_path):
    folder = tmp_path / "showcase"
    shutil.copytree(SHOWCASE, folder)
    write_report(folder)
    plt.close("all")
    remedy = "write it again: memprop report reports/showcase"
    for name in ("report.html", "report.md", "results.csv"):
        same = (folder / name).read_bytes() == (SHOWCASE / name).read_bytes()
        assert same, f"reports/showcase/{name} is not what memprop writes now; {remedy}"
