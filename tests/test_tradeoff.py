"""mp.schedule and mp.frontier: what a strategy costs, and the whole curve."""

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
    ]
    assert table["peak_bytes"].is_monotonic_increasing
    for row in table.itertuples():
        found = mp.schedule(mlp, 64, row.strategy)
        assert found.peak <= row.peak_bytes
        assert found.recomputed_flops <= row.forward_flops_recomputed
    assert {"textbook", "lean", "sqrt", "every:2", "revolve:4"} <= set(table["strategy"])
    assert table["strategy"].str.startswith("budget:").sum() >= 3


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
