"""Level one: phases and their tables, tracemalloc left as it was, and phases used wrongly."""

import gc
import threading
import tracemalloc

import numpy as np
import pytest

import memprop as mp

MIB = 2**20


def block(size=MIB):
    return np.ones(size, dtype=np.uint8)


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    assert not tracemalloc.is_tracing()
    yield
    gc.collect()
    assert not tracemalloc.is_tracing()


@pytest.fixture
def prof():
    with mp.Profiler() as profiler:
        yield profiler


def by_path(profiler):
    return profiler.phases().set_index("path")


def test_nested_phases_have_a_row_for_each_path(prof):
    with prof.phase("step"):
        kept = [block()]
        for _ in range(3):
            with prof.phase("forward"):
                kept.append(block())
                with prof.phase("attention"):
                    block(5 * MIB)
        kept.pop()
    table = by_path(prof)
    assert table.index.tolist() == ["step", "step/forward", "step/forward/attention"]
    assert table["entered"].tolist() == [1, 3, 3]
    assert table["allocated_bytes"].tolist() == [3 * MIB, 3 * MIB, 0]
    assert table["entry_bytes"].tolist() == [0, MIB, 2 * MIB]
    assert table["exit_bytes"].tolist() == [3 * MIB, 4 * MIB, 4 * MIB]
    assert (table["seconds"] > 0).all()


def test_the_peak_of_an_outer_phase_is_the_largest_of_all_that_happens_in_it(prof):
    with prof.phase("step"):
        with prof.phase("low"):
            block(1 * MIB)
        block(9 * MIB)
        with prof.phase("high"):
            block(4 * MIB)
    peaks = by_path(prof)["traced_peak_bytes"] // MIB
    assert peaks.to_dict() == {"step": 9, "step/low": 1, "step/high": 4}


def test_sites_name_file_and_line_outside_numpy(prof):
    with prof.phase("forward"):
        padded = np.pad(block(100), 10)  # allocated deep inside NumPy
    (row,) = prof.sites().itertuples()
    assert row.bytes == padded.nbytes
    assert row.count == 1
    line = test_sites_name_file_and_line_outside_numpy.__code__.co_firstlineno + 2
    assert row.site.endswith(f"test_profiler_phases.py:{line}")


def test_a_function_becomes_a_phase_and_may_call_itself(prof):
    @prof.phase("forward")
    def depth(n):
        return 0 if n == 0 else 1 + depth(n - 1)

    assert depth(2) == 2
    assert prof.phases()["path"].tolist() == [
        "forward",
        "forward/forward",
        "forward/" * 2 + "forward",
    ]


def test_the_first_step_tells_what_is_cached(prof):
    kept = None
    for _ in range(2):
        with prof.phase("forward"):
            block()
            kept = [block(), block(2 * MIB)]
        with prof.phase("loss"):
            kept.append(block(3 * MIB))
        with prof.phase("backward"):
            grads = block(7 * MIB)
    assert grads.nbytes == 7 * MIB
    assert prof.cached()["bytes"].sum() == 6 * MIB


def test_cached_needs_a_forward_and_a_backward(prof):
    with prof.phase("backward"):
        pass
    with prof.phase("forward"):
        pass
    with pytest.raises(mp.MempropError, match="phases entered were: backward, forward"):
        prof.cached()


def test_other_threads_are_told_apart(prof):
    made = []

    def work():
        made.append(block(3 * MIB))

    with prof.phase("forward"):
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        mine = block(2 * MIB)
    with prof.phase("backward"):
        pass
    row = by_path(prof).loc["forward"]
    assert (row["allocated_bytes"], row["other_thread_bytes"]) == (mine.nbytes, made[0].nbytes)
    assert row["exit_bytes"] == 5 * MIB
    assert prof.cached()["bytes"].tolist() == [2 * MIB]
    sites = prof.sites()
    assert sites[sites["other_thread"]]["bytes"].tolist() == [3 * MIB]


def test_bytes_that_watching_did_not_see_are_counted(prof):
    x = prof.watch(block(), "x")
    with prof.phase("forward"):
        seen, unseen = x + x, block(2 * MIB)
    row = by_path(prof).loc["forward"]
    assert row["watched_bytes"] == x.nbytes + seen.nbytes
    assert row["unseen_bytes"] == unseen.nbytes


def test_without_watching_the_trace_is_what_tracemalloc_saw(prof):
    with prof.phase("forward"):
        kept = [block(), block(), block(3 * MIB)]
        block(6 * MIB)
    with prof.phase("backward"):
        kept.pop()
        grads = block(2 * MIB)
    trace = prof.trace
    assert trace.about["source"] == "tracemalloc"
    assert grads.nbytes + sum(map(len, kept)) == trace.live.total[-1]
    assert trace.peak // MIB == 11
    assert trace.peak_by_category()["activation"] == 5 * MIB
    assert trace.peak_by_category()["workspace"] // MIB == 6
    assert len(trace.intermediates()) == 0


def test_a_stretch_that_lets_go_of_more_than_it_makes_peaks_at_its_beginning(prof):
    kept = []
    with prof.phase("forward"):
        kept.append(block(8 * MIB))
    with prof.phase("backward"):
        extra = block(2 * MIB)
        kept.clear()
        del extra
    assert prof.trace.peak // MIB == 10
    assert prof.trace.live.total[-1] == 0


def test_a_trace_is_given_while_a_phase_is_open(prof):
    x = prof.watch(block(10), "x")
    with prof.phase("step"), prof.phase("forward"):
        x + 1
        assert prof.trace.about["open"] == "step/forward"
    assert "open" not in prof.trace.about


def test_without_phases_there_is_nothing_to_trace(prof):
    with pytest.raises(mp.MempropError, match="nothing to trace"):
        _ = prof.trace
    assert len(prof.phases()) == len(prof.sites()) == 0


def test_an_exception_keeps_the_trace_and_stops_tracing():
    prof = mp.Profiler()
    x = prof.watch(block(10), "x")
    made = []

    def fail():
        made.append(x + 1)
        _ = 1 / 0

    with pytest.raises(ZeroDivisionError), prof.phase("step"), prof.phase("forward"):
        fail()
    assert not tracemalloc.is_tracing()
    assert [v.name for v in prof.trace.variables] == ["x", "add"]
    assert prof.phases()["path"].tolist() == ["step", "step/forward"]
    assert len(made[0] + 1) == 10
    with pytest.raises(mp.MempropError, match="this profiler is closed: make a new one"):
        prof.watch(x, "x")
    with pytest.raises(mp.MempropError, match="closed"), prof.phase("forward"):
        pass


def test_an_exception_that_is_caught_inside_a_phase_goes_on(prof):
    with prof.phase("step"):
        with pytest.raises(ZeroDivisionError), prof.phase("forward"):
            _ = 1 / 0
        with prof.phase("forward"):
            pass
    assert by_path(prof).loc["step/forward", "entered"] == 2


def test_tracing_that_ran_before_is_left_running():
    tracemalloc.start(3)
    try:
        with mp.Profiler() as prof, prof.phase("forward"):
            kept = block()
        assert tracemalloc.is_tracing()
        assert tracemalloc.get_traceback_limit() == 3
        assert prof.sites()["bytes"].tolist() == [kept.nbytes]
    finally:
        tracemalloc.stop()


def test_the_last_of_two_profilers_stops_tracing():
    with mp.Profiler() as outer, outer.phase("step"):
        with mp.Profiler() as inner, inner.phase("forward"):
            kept = block()
        assert tracemalloc.is_tracing()
    assert (
        kept.nbytes == inner.phases()["allocated_bytes"][0] == outer.phases()["allocated_bytes"][0]
    )


def test_a_profiler_that_is_forgotten_stops_tracing():
    prof = mp.Profiler()
    with prof.phase("forward"):
        pass
    assert tracemalloc.is_tracing()
    del prof
    gc.collect()
    assert not tracemalloc.is_tracing()


def test_what_outlives_its_profiler_is_recorded_no_more():
    prof = mp.Profiler()
    x = prof.watch(block(10), "x")
    ledger = x._ledger
    del prof
    gc.collect()
    assert ledger.closed
    assert (x + 1).sum() == 20


def test_tracing_that_someone_else_stopped_is_an_error(prof):
    with pytest.raises(mp.MempropError, match="tracemalloc was stopped"), prof.phase("forward"):
        tracemalloc.stop()


def test_phases_that_end_in_the_wrong_order_are_named(prof):
    outer, inner = prof.phase("forward"), prof.phase("attention")
    outer.__enter__()
    inner.__enter__()
    with pytest.raises(mp.MempropError, match="'forward' ends while 'attention' is open inside"):
        outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    outer.__exit__(None, None, None)
    with pytest.raises(mp.MempropError, match="'forward' ends, but it was not entered"):
        outer.__exit__(None, None, None)


def test_one_thread_at_a_time_opens_phases(prof):
    errors = []

    def work():
        try:
            with prof.phase("loss"):
                pass
        except mp.MempropError as error:
            errors.append(str(error))

    with prof.phase("forward"):
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
    assert "'loss' begins in one thread while 'forward' is open in another" in errors[0]


@pytest.mark.parametrize("name", ["", " ", "a/b", "setup", "end", "outside", None, 3])
def test_bad_names_of_phases_are_refused(prof, name):
    with pytest.raises(mp.MempropError, match=r"a phase (cannot be called|is named by)"):
        prof.phase(name)
