"""mp.schedule and mp.frontier: what a strategy costs, and the whole curve."""

import numpy as np
import pytest
from cases import data, model

import memprop as mp
from memprop.errors import ScheduleError
from memprop.tradeoff import is_least


def test_a_schedule_says_its_peak_and_flops_and_can_be_run():
    mlp = model(6, 32)
    x, y = data(mlp, batch=24)
    for name in ("lean", "sqrt", "revolve:3", "microbatch:4"):
        schedule = mp.schedule(mlp, 24, strategy=name)
        trace = mp.trace(mlp, x, y, schedule=schedule)
        assert trace.peak == schedule.peak
        assert trace.about["flops"] == schedule.flops
        assert str(schedule).count("\n") == len(schedule.actions) - 1


def test_a_schedule_without_a_batch_size_says_so():
    from memprop.schedules.lean import lean

    with pytest.raises(ScheduleError, match="was made for no batch size"):
        _ = lean(model(2).graph()).peak


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_frontier_is_what_the_schedules_say(activation):
    mlp = model(12, 32, activation=activation)
    table = mp.frontier(mlp, 64)
    assert list(table.columns) == [
        "peak_bytes",
        "forward_flops_recomputed",
        "slowdown",
        "strategy",
        "disk_bytes",
    ]
    assert (table["disk_bytes"] == 0).all()
    assert table["peak_bytes"].is_monotonic_increasing
    for row in table.itertuples():
        found = mp.schedule(mlp, 64, row.strategy)
        assert found.peak <= row.peak_bytes
        assert found.recomputed_flops <= row.forward_flops_recomputed
    assert {"textbook", "lean", "sqrt", "every:2", "revolve:4"} <= set(table["strategy"])
    assert table["strategy"].str.startswith("budget:").sum() >= 3


def test_the_frontier_has_a_row_for_a_folder_and_makes_no_time_up(tmp_path):
    mlp, folder = model(12, 32), tmp_path / "not there"
    plain, table = mp.frontier(mlp, 64), mp.frontier(mlp, 64, offload=folder)
    found = table[table["disk_bytes"] > 0]
    (row,) = found.itertuples()
    schedule = mp.schedule(mlp, 64, row.strategy)
    assert row.strategy == f"offload:{folder}"
    assert (row.peak_bytes, row.disk_bytes) == (schedule.peak, schedule.disk_peak)
    assert row.forward_flops_recomputed == 0
    assert np.isnan(row.slowdown)
    others = table.drop(found.index).reset_index(drop=True)
    assert others.equals(plain)
    assert table["peak_bytes"].is_monotonic_increasing
    assert not folder.exists()


def test_its_slow_down_is_that_of_the_bytes_moved_where_rates_are_known():
    mlp, rates = model(12, 32), mp.Rates(flops=1e9, disk_bytes=1e6)
    table = mp.frontier(mlp, 64, offload="scratch", rates=rates).set_index("strategy")
    lean, ours = (mp.schedule(mlp, 64, name) for name in ("lean", "offload:scratch"))
    moved = sum(2 * lean.graph.bytes_at(64)[a.variable] for a in ours.actions if is_store(a))
    expected = 1 + moved / 1e6 / (lean.flops / 1e9)
    assert table.loc["offload:scratch", "slowdown"] == pytest.approx(expected)
    assert table.loc["lean", "slowdown"] == 1


@pytest.mark.parametrize("wrong", [{"offload": 3}, {"offload": "x", "rates": 1e9}])
def test_what_is_no_folder_and_no_rates_is_named(wrong):
    (name, value) = list(wrong.items())[-1]
    with pytest.raises(mp.MempropError, match=rf"^{name} must be .*, got {value}$"):
        mp.frontier(model(2), 8, **wrong)


def is_store(action):
    return str(action).startswith("store")


def test_rates_are_measured_in_a_folder_and_leave_nothing_there(tmp_path):
    rates = mp.measure_rates(tmp_path / "scratch")
    assert rates.flops > 1e6
    assert rates.disk_bytes > 1e3
    assert list((tmp_path / "scratch").iterdir()) == []
    assert mp.Rates(flops=2, disk_bytes=4).seconds(10, 8) == 7
    with pytest.raises(mp.MempropError, match="disk_bytes must be positive, got 0"):
        mp.Rates(flops=1, disk_bytes=0)


def test_only_what_is_shown_to_be_least_is_called_so():
    mlp = model(3, 32)
    lean, root = (mp.schedule(mlp, 64, name) for name in ("lean", "sqrt"))
    assert is_least(lean, lean.peak)
    assert not is_least(root, lean.peak)
    short = mp.schedule(mlp, 64, f"budget:{lean.peak * 19 // 20}")
    assert short.recomputed_flops > 0
    assert is_least(short, lean.peak * 19 // 20)
    deep = model(30, 32)
    budget = mp.schedule(deep, 64).peak * 3 // 4
    assert not is_least(mp.schedule(deep, 64, f"budget:{budget}"), budget)
