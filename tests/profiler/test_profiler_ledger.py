"""What watching records: views once, values written over, arrays that come in from outside."""

import gc
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import memprop as mp
from memprop.profiler.watched import WatchedArray


@pytest.fixture
def prof():
    with mp.Profiler() as profiler:
        yield profiler


def live(profiler):
    return int(profiler.trace.live.total[-1])


def kinds(profiler):
    table = profiler.trace.timeline()
    return list(zip(table["kind"], table["variable"], strict=True))


def test_views_count_once_and_keep_their_buffer_alive(prof):
    x = prof.watch(np.ones((10, 10)), "x")
    row, transposed, window = x[3], x.T.reshape(10, 10)[::2, ::2], np.broadcast_to(x, (5, 10, 10))
    assert live(prof) == 800
    assert len(prof.trace.events) == 1
    del x, row, transposed
    assert live(prof) == 800
    del window
    assert live(prof) == 0


def test_watching_a_view_counts_the_buffer_that_it_keeps_alive(prof):
    data = np.ones((1000, 10))
    batch = prof.watch(data[:10], "batch")
    assert batch.shape == prof.trace.variables[0].shape == (10, 10)
    assert live(prof) == data.nbytes


def test_two_windows_on_one_buffer_share_it(prof):
    data = np.ones((10, 11))
    x, y = prof.watch(data[:, :-1], "x"), prof.watch(data[:, -1], "y")
    assert x.shape != y.shape
    assert live(prof) == data.nbytes


def test_a_value_written_over_makes_a_new_one_in_the_same_buffer(prof):
    with prof.phase("forward"):
        x = prof.watch(np.ones(10), "x")
        y = x * 2
        y += 1
        y[:] = x
        y[2:4] = 5
    assert live(prof) == 160
    assert kinds(prof) == [
        ("allocate", "x"),
        *(("allocate", "multiply"), ("read", "x")),
        *(("read", "multiply"), ("allocate", "add"), ("free", "multiply")),
        *(("read", "x"), ("allocate", "setitem"), ("free", "add")),
        *(("read", "setitem"), ("allocate", "setitem#2"), ("free", "setitem")),  # 8 stay
    ]
    assert len(set(prof.trace.events.storage.tolist())) == 2


def test_parameters_that_are_updated_in_place_stay_parameters(prof):
    W = prof.watch(np.ones(10), "W", category="parameter")
    with prof.phase("backward"):
        g = W * 0.5
    with prof.phase("update"):
        W -= 0.1 * g
    names = {v.name: v.category for v in prof.trace.variables}
    assert names["W"] == names["W#2"] == "parameter"


def test_a_result_can_be_named_and_told_to_be_a_gradient(prof):
    x = prof.watch(np.ones(10), "x")
    with prof.phase("backward"):
        dW = prof.watch(x * 2, "dW", category="parameter_gradient")
        dW += x
    names = {v.name: v.category for v in prof.trace.variables}
    assert names["dW"] == names["dW#2"] == "parameter_gradient"
    assert prof.trace.peak_by_category()["parameter_gradient"] == 80


def test_watching_the_same_array_again_changes_nothing(prof):
    x = np.ones(10)
    for _ in range(3):
        prof.watch(x, "x")
    assert [v.name for v in prof.trace.variables] == ["x"]


def test_plain_arrays_come_in_when_they_meet_a_watched_one(prof):
    before = np.ones(10)
    x = prof.watch(np.ones(10), "x")
    with prof.phase("forward"):
        mask = np.arange(10) > 4
        x * before * mask
    found = {v.name: (v.category, v.bytes) for v in prof.trace.variables}
    assert found["unwatched"] == ("parameter", 80)
    assert found["unwatched#2"] == ("activation", 10)
    (site,) = {v.site for v in prof.trace.variables if v.name == "unwatched#2"}
    assert "test_profiler_ledger.py:" in site


def test_a_plain_array_written_by_watched_ones_is_in_the_account(prof):
    x = prof.watch(np.ones(10), "x")
    with prof.phase("backward"):
        total = np.zeros(4)
        np.add.at(total, [0, 1], x[:2])
        total += x[:4]
    assert type(total) is np.ndarray
    assert [v.name for v in prof.trace.variables] == ["x", "unwatched", "add.at", "add"]
    assert live(prof) == 80 + 32


def test_shapes_are_looked_at_and_not_read(prof):
    x = prof.watch(np.ones(10), "x")
    with prof.phase("backward"):
        np.shape(x), x.shape, np.result_type(x, x), np.zeros_like(x), repr(x)
    assert ("read", "x") not in kinds(prof)


def test_reductions_to_scalars_are_reads(prof):
    x = prof.watch(np.ones(10), "x")
    with prof.phase("backward"):
        assert type(x.sum()) is np.float64
        assert type(x[3]) is np.float64
    assert [o.name for o in prof.trace.operators] == ["sum", "getitem"]


def test_events_belong_to_the_innermost_phase_of_a_step(prof):
    x = prof.watch(np.ones(10), "x")
    with prof.phase("step"):
        x + 1
        with prof.phase("forward"), prof.phase("attention"):
            x + 1
    x + 1
    assert [o.phase for o in prof.trace.operators] == ["step", "forward", "outside"]
    assert prof.trace.events.phase[0] == 0


def test_operations_are_those_of_a_matrix_product(prof):
    a, b = prof.watch([np.ones((3, 5)), np.ones((5, 7))], "ab")
    c = prof.watch(np.ones((2, 3, 5)), "c")
    for function in (
        lambda: a @ b,
        lambda: np.dot(a, b),
        lambda: np.einsum("ik,kj->ij", a, b),
        lambda: np.tensordot(a, b, 1),
        lambda: c @ b,
        lambda: a @ a.T,
        lambda: a + 1,
        lambda: a.sum(axis=0),
    ):
        function()
    flops = [o.flops for o in prof.trace.operators]
    product = 2 * 3 * 5 * 7
    assert flops == [product, product, product, product, 2 * product, 2 * 3 * 5 * 3, 15, 15]


def test_structures_keep_their_form_and_name_their_arrays(prof):
    given = {"W": [np.ones(2), (np.zeros(3), None)], "rate": 0.1}
    found = prof.watch(given, "p")
    assert found["rate"] == 0.1
    assert found["W"][1][1] is None
    assert isinstance(found["W"][1][0], WatchedArray)
    assert [v.name for v in prof.trace.variables] == ["p.W[0]", "p.W[1][0]"]


def test_a_closed_profiler_leaves_working_arrays_behind(prof):
    x = prof.watch(np.ones(10), "x")
    prof.close()
    events = len(prof.trace.events)
    assert (x * 2).sum() == 20
    x += 1
    del x
    assert len(prof.trace.events) == events


def test_deaths_in_a_cycle_and_on_another_thread_are_booked_in_order(prof):
    first, second = prof.watch(np.ones(10), "first"), prof.watch(np.ones(20), "second")
    cycle = [first]
    cycle.append(cycle)
    box = [second]
    del first, second, cycle
    worker = threading.Thread(target=box.clear)
    worker.start()
    worker.join()
    assert live(prof) == 80
    gc.collect()
    assert live(prof) == 0
    assert kinds(prof)[-2:] == [("free", "second"), ("free", "first")]


def test_threads_may_use_watched_arrays_together(prof):
    x = prof.watch(np.ones(100), "x")

    def work():
        for _ in range(200):
            (x * 2 + 1).sum()

    with prof.phase("forward"):
        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert live(prof) == 800
    assert len(prof.trace.operators) == 4 * 200 * 3
    assert {o.phase for o in prof.trace.operators} == {"forward"}


def increment(a, b):
    a += 1
    return a


def write_first(a, b):
    a[:1] = b[:1] if len(b) else 0
    return a


MOVES = [
    lambda a, b: b[::2],
    lambda a, b: b * 2,
    lambda a, b: np.concatenate([b, np.asarray(a)[:1]]),
    increment,
    write_first,
    lambda a, b: b.reshape(1, -1).T[:, 0],
    lambda a, b: b.copy(),
    lambda a, b: np.split(b + 0, [1])[1],
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5), st.integers(0, 5)), max_size=40))
def test_live_bytes_are_those_of_the_buffers_that_live(steps):
    with mp.Profiler() as profiler, profiler.phase("forward"):
        held = [profiler.watch(np.ones(n + 1), f"x{n}") for n in range(6)]
        for kind, i, j in steps:
            held[i] = MOVES[kind](held[i], held[j])
        owners = {}
        for array in held:
            while array.base is not None:
                array = array.base
            owners[id(array)] = array.nbytes
        assert live(profiler) == sum(owners.values())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (3.0, "x must be a NumPy array, .* got float"),
        ([], "x must be a NumPy array, .* got list"),
        ({"a": None}, "got dict"),
        (np.ma.masked_array([1.0]), "x is a MaskedArray"),
        ([np.rec.array([1.0])], r"x\[0\] is a recarray"),
    ],
)
def test_watching_what_is_no_plain_array_is_refused(prof, bad, message):
    with pytest.raises(mp.MempropError, match=message) as refused:
        prof.watch(bad, "x")
    assert isinstance(refused.value, TypeError)


def test_names_and_categories_are_checked(prof):
    with pytest.raises(mp.MempropError, match="unknown category 'params'"):
        prof.watch(np.ones(1), "x", category="params")
    for name in ("", None):
        with pytest.raises(mp.MempropError, match="name must be a string"):
            prof.watch(np.ones(1), name)
