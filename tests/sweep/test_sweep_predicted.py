"""A sweep of mode "simulate" says what simulations say, a million times if need be."""

import random

import pytest

import memprop as mp
from memprop.errors import OutputError, SpecError
from memprop.sweep.predicted import predict_sweep, predictions
from memprop.sweep.results import column_types, load_results
from memprop.sweep.spec import GridSpec, SweepSpec, load_spec
from memprop.sweep.store import ResultStore
from memprop.terms import CATEGORIES


def simulated(**axes):
    grid = GridSpec.model_validate({"depth": 2, "width": 16, "batch": 8, "mode": "simulate"} | axes)
    return SweepSpec(name="a", title="b", grid=(grid,))


def test_every_point_is_what_its_own_simulation_says():
    axes = {
        "depth": [1, 5],
        "batch": {"from": 1, "to": 400, "step": 3},
        "schedule": ["textbook", "lean", "every:2", "sqrt+microbatch:1"],
        "optimizer": ["none", "adam"],
        "activation": ["relu", "gelu"],
    }
    table = predictions(simulated(**axes))
    assert tuple(table.columns) == tuple(column_types())
    assert len(table) == 2 * 134 * 4 * 2 * 2
    assert (table["status"] == "simulated").all()
    rows = table.to_dict(orient="records")
    for row in random.Random(0).sample(rows, 40):
        mlp = mp.MLP([64, *[16] * row["depth"], 10], activation=row["activation"])
        how = {"schedule": row["schedule"], "optimizer": row["optimizer"]}
        trace = mp.simulate(mlp, row["batch"], **how)
        assert row["predicted_peak"] == trace.peak
        assert {n: row[f"peak_{n}"] for n in CATEGORIES} == trace.peak_by_category()
        assert row["peak_operator"] == trace.peak_operator
        assert (row["saved_bytes"], row["saved_count"]) == (trace.saved_bytes, len(trace.saved))
        assert row["persistent_bytes"] == trace.persistent_bytes
        assert (row["flops"], row["recomputed_flops"]) == (
            trace.about["flops"],
            trace.about["recomputed_flops"],
        )


def test_a_budget_is_planned_for_each_batch_size():
    table = predictions(simulated(depth=6, batch=[64, 256, 1], schedule="budget:80%"))
    assert list(table["status"]) == ["simulated", "simulated", "error"]
    assert "no schedule fits into" in table["message"][2]
    for batch, peak in zip(table["batch"][:2], table["predicted_peak"][:2], strict=True):
        mlp = mp.MLP([64, *[16] * 6, 10])
        assert peak == mp.simulate(mlp, int(batch), schedule="budget:80%").peak


def test_what_is_on_disk_is_chosen_for_each_batch_size():
    table = predictions(simulated(depth=6, batch=[64, 256], schedule="offload:a b"))
    assert list(table["status"]) == ["simulated", "simulated"]
    for batch, peak in zip(table["batch"], table["predicted_peak"], strict=True):
        mlp = mp.MLP([64, *[16] * 6, 10])
        assert peak == mp.simulate(mlp, int(batch), schedule="offload:a b").peak


def test_what_makes_no_sense_is_a_row_too():
    table = predictions(simulated(batch=[4, 6], schedule=["microbatch:4", "revolve:9"]))
    assert list(table["status"]) == ["simulated", "error", "error", "error"]
    assert "4 equal micro-batches" in table["message"][1]
    assert "more slots than the network has layers" in table["message"][3]
    whole = mp.simulate(mp.MLP([64, 16, 16, 10]), 4, schedule="microbatch:4")
    assert table["predicted_peak"][0] == whole.peak


def test_predictions_do_not_replace_measurements_unasked(tmp_path):
    with ResultStore(tmp_path):
        pass
    with pytest.raises(OutputError, match="holds measured results: choose another folder"):
        predict_sweep(simulated(), tmp_path)
    assert predict_sweep(simulated(), tmp_path, fresh=True) == 1
    assert list(load_results(tmp_path)["status"]) == ["simulated"]


GRID = 'name = "a"\ntitle = "b"\n[grid]\ndepth = 1\nwidth = 2\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("batch = { from = 4, to = 2 }", "expected 1 to 1000000 integers with a positive step"),
        ("batch = { from = 1, to = 2, step = 0 }", "with a positive step"),
        ("batch = { to = 9000000 }", "expected 1 to 1000000 integers"),
        ("batch = { from = 1 }", "expected { from = 1, to = 4096, step = 1 }"),
        ("batch = { from = 1, till = 2 }", "expected { from = 1, to = 4096, step = 1 }"),
        ('batch = { from = 1, to = "x" }', "expected { from = 1, to = 4096, step = 1 }"),
        ('batch = 1\nmode = ["simulate", "train"]', "mode 'simulate' runs nothing"),
    ],
)
def test_a_range_or_mode_that_cannot_be_is_told(tmp_path, line, message):
    path = tmp_path / "spec.toml"
    path.write_text(GRID + line)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_range_stands_for_its_integers(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(GRID + "batch = { from = 2, to = 9, step = 3 }")
    assert load_spec(path).grid[0].batch == (2, 5, 8)
