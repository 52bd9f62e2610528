"""What recomputing would free and cost, against counts made by hand."""

import numpy as np
import pandas as pd
import pytest
from course_mlp import TwoLayerNet
from optional import thorough

import memprop as mp
from memprop.traces.recorder import Recorder

N, D, H, Q = 40, 12, 30, 5
FLOAT = 8


@pytest.fixture
def prof():
    with mp.Profiler() as profiler:
        yield profiler


def table(profiler):
    return mp.what_if(profiler.trace).set_index("variable")


def test_a_two_layer_network_recomputes_h_from_z_and_z_from_x(prof):
    net = TwoLayerNet(D, H, Q)
    net.params = prof.watch(net.params, "p", category="parameter")
    x, y = prof.watch(np.ones((N, D)), "x"), np.zeros(N, dtype=int)
    with prof.phase("forward"):
        scores, cache = net.forward(x)
    with prof.phase("loss"):
        _, probs = net.loss(scores, y)
    with prof.phase("backward"):
        net.backward(cache, probs, y)
    found = table(prof)
    h, z = found.loc["maximum"], found.loc["add"]
    assert (h["bytes_freed"], h["operations"], h["needs"]) == (FLOAT * N * H, N * H, ("add",))
    assert z["recompute"] == ("matmul", "add")
    assert z["operations"] == 2 * N * D * H + N * H
    assert set(z["needs"]) == {"x", "p.W1", "p.b1"}
    assert found.index[0] == "maximum"
    assert found["bytes_per_operation"].is_monotonic_decreasing
    assert "x" not in found.index


def test_operands_that_are_dead_are_computed_again_too(prof):
    x = prof.watch(np.ones((4, 4)), "x")
    with prof.phase("forward"):
        z = x @ x
        z += 1
        h = np.tanh(z)
        del z
    with prof.phase("backward"):
        1 - h**2
    row = table(prof).loc["tanh"]
    assert row["recompute"] == ("matmul", "add", "tanh")
    assert row["operations"] == 2 * 4 * 4 * 4 + 16 + 16
    assert row["needs"] == ("x",)


def test_inputs_that_die_too_early_must_be_kept_longer(prof):
    with prof.phase("forward"):
        x = prof.watch(np.ones((4, 2)), "x")
        h = np.concatenate([x, x, x])
        del x
    with prof.phase("backward"):
        h * 2
    row = table(prof).loc["concatenate"]
    assert row["keep_longer"] == ("x",)
    assert (row["keep_longer_bytes"], row["bytes_freed"]) == (4 * 2 * FLOAT, 2 * 4 * 2 * FLOAT)


def test_what_frees_nothing_is_left_out(prof):
    with prof.phase("forward"):
        x = prof.watch(np.ones(4), "x")
        h = np.exp(x)
        del x
    with prof.phase("backward"):
        h * 2
    assert len(mp.what_if(prof.trace)) == 0


def test_values_that_nobody_saw_being_made_are_left_out(prof):
    x = prof.watch(np.ones(4), "x")
    with prof.phase("forward"):
        x + 1
        noise = np.random.default_rng(0).normal(size=4)
        x * noise
    with prof.phase("backward"):
        x * noise
    assert [found.saved_by for found in prof.trace.saved] == ["input", "input"]
    assert len(mp.what_if(prof.trace)) == 0


@thorough
def test_a_buffer_filled_in_a_long_loop_is_computed_again_step_by_step(prof):
    x = prof.watch(np.ones(1200), "x")
    with prof.phase("forward"):
        hs = np.zeros_like(x)
        for t in range(len(x)):
            hs[t : t + 1] = x[t : t + 1]
    with prof.phase("backward"):
        hs * 2
    (row,) = mp.what_if(prof.trace).itertuples()
    assert len(row.recompute) == 1 + len(x)


def test_what_if_asks_for_a_trace(prof):
    with pytest.raises(mp.MempropError, match="trace must be a Trace"):
        mp.what_if(prof)


def test_a_step_of_the_engine_is_answered_from_its_rules():
    rows = mp.what_if(mp.simulate(mp.MLP([8, 16, 4], activation="gelu"), batch=32))
    rows = rows.set_index("variable")
    assert rows.loc["z1", "operations"] == 2 * 32 * 8 * 16 + 32 * 16
    assert rows.loc["z1", "needs"] == ("x", "W1", "b1")
    assert rows.loc["h1", "recompute"] == ("gelu_1",)
    assert rows.loc["h1", "bytes_freed"] == 4 * 32 * 16


def test_what_a_schedule_recomputes_itself_is_not_asked_for_again():
    model = mp.MLP([8, *[16] * 4, 4], activation="gelu")
    trace = mp.simulate(model, batch=32, schedule="every:2")
    asked = set(mp.what_if(trace)["variable"])
    assert asked
    assert asked <= {found.variable for found in trace.saved}
    assert asked.isdisjoint(
        row.variable for row in trace.intermediates().itertuples() if not row.kept
    )


def test_a_step_without_backward_has_nothing_to_recompute():
    assert mp.what_if(mp.simulate(mp.MLP([4, 5, 3]), 2, mode="inference")).empty


def test_where_operations_are_not_known_they_are_missing_and_come_last():
    def made(flops):
        told = Recorder()
        names = ("known", "unknown")
        values = [told.variable(name, "activation", (4,), "float32", 16) for name in names]
        for value, name, count in zip(values, names, flops, strict=True):
            operator = told.operator(name, "forward", flops=count)
            told.allocate(value, value, 16, "forward", operator)
        operator = told.operator("backward", "backward")
        for value in values:
            told.read(value, value, 16, "backward", operator)
        return told.trace()

    rows = mp.what_if(made([8, None]))
    assert rows["variable"].tolist() == ["known", "unknown"]
    assert rows["operations"].tolist() == [8, pd.NA]
    assert rows["bytes_per_operation"].isna().tolist() == [False, True]


def test_a_trace_from_a_file_answers_the_same(prof, tmp_path):
    x = prof.watch(np.ones((4, 4)), "x")
    with prof.phase("forward"):
        h = np.tanh(x @ x)
    with prof.phase("backward"):
        1 - h**2
    prof.trace.save(tmp_path / "step.json.gz")
    loaded = mp.Trace.load(tmp_path / "step.json.gz")
    assert loaded == prof.trace
    assert mp.what_if(loaded).equals(mp.what_if(prof.trace))
