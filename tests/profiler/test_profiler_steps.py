"""Loops: a row for each step, and what steps leave, against tracemalloc, weakrefs and by hand."""

import gc
import threading
import tracemalloc
import weakref
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import memprop as mp
from memprop.errors import PhaseError
from memprop.traces.steps import growth_table, steps_table

KIB = 2**10
MIB = 2**20


@pytest.fixture
def prof():
    with mp.Profiler() as profiler:
        yield profiler


def train(profiler, steps, *, watch=True, phases=True, kept=None):
    """A loop that keeps its activations where it is given a list for them."""
    phase = profiler.phase if phases else (lambda _: nullcontext())
    W = np.ones((8, 16))
    W = profiler.watch(W, "W", category="parameter") if watch else W
    for _ in range(steps):
        x = np.ones((4, 8))
        x = profiler.watch(x, "x") if watch else x
        with phase("forward"):
            h = x @ W
            if kept is not None:
                kept.append(h)
        with phase("backward"):
            g = x.T @ h
            if watch:
                profiler.watch(g, "dW", category="parameter_gradient")
        with phase("update"):
            W -= 0.1 * g
        profiler.step()


H, X, G = 4 * 16 * 8, 4 * 8 * 8, 8 * 16 * 8
LINE_OF_H = train.__code__.co_firstlineno + 9
SITE_OF_H = f"{Path(__file__).name}:{LINE_OF_H}"


@pytest.mark.parametrize("watch", [True, False])
@pytest.mark.parametrize("phases", [True, False])
def test_the_activations_that_a_loop_keeps_are_named_by_their_line(prof, watch, phases):
    kept = []
    train(prof, 5, watch=watch, phases=phases, kept=kept)
    counted = 5 if watch or phases else 4  # the first call begins the first step
    row = prof.growth().iloc[0]
    assert row["line"].endswith(SITE_OF_H)
    over = counted - 1  # the last step counts as soon as something is made after it
    assert (row["bytes"], row["count"], row["steps"]) == (over * H, over, over)
    assert (row["first_step"], row["module"]) == (0, "")
    assert row["operator"] == ("matmul" if watch else "")
    assert row["category"] == ("activation" if phases else "workspace")
    assert prof.growth()["steps"].tolist()[1:] == [1] * (len(prof.growth()) - 1)
    assert prof.steps()["growth_bytes"].tolist()[2:] == [H] * (counted - 2)
    assert len(prof.steps()) == len(prof.traces) == counted
    assert f"{counted} steps" in repr(prof)


def test_the_figures_of_watched_steps_are_those_by_hand(prof):
    train(prof, 4)
    table = prof.steps()
    assert table["live_bytes"].tolist() == [G + X + H + G] * 4  # W, and x, h, g until replaced
    assert table["growth_bytes"].tolist() == [H + G, 0, 0, 0]  # W and the first x are given
    # x is made while the last x, h and g live; 0.1 * g while W, x, h, g and the last step's do
    assert table["peak_bytes"].tolist() == [G + X + H + 2 * G] * 4
    assert table["peak_operator"].tolist() == ["multiply"] + ["matmul#2"] * 3
    assert table["saved_bytes"].tolist() == [X + H, *[X + H] * 3]
    assert table["peak_parameter"].tolist() == [G] * 4
    assert (table["seconds"] > 0).all()
    assert table.columns.tolist() == steps_table([]).columns.tolist()


def test_the_steps_of_a_steady_state_are_equal_and_the_whole_is_what_it_was(prof):
    train(prof, 4)
    first, *rest = prof.traces
    assert rest[0] == rest[1] == rest[2] != first
    assert [trace.about["step"] for trace in prof.traces] == [0, 1, 2, 3]
    assert all(trace.about["source"] == "watched" for trace in prof.traces)
    assert prof.trace.peak == max(trace.peak for trace in prof.traces)
    assert "step" not in prof.trace.about


def test_watched_peaks_are_those_that_tracemalloc_counts(prof):
    tracemalloc.start(1)
    counted, kept = [], []
    W = prof.watch(np.ones((256, 256)), "W", category="parameter")
    for number in range(4):
        before = tracemalloc.get_traced_memory()[0] - prof.trace.live.total[-1]
        tracemalloc.reset_peak()
        h = np.tanh(W * number)
        kept.append(h)
        del h
        counted.append(tracemalloc.get_traced_memory()[1] - before)
        prof.step()
    tracemalloc.stop()
    peaks = prof.steps()["peak_bytes"].to_numpy()
    assert peaks.tolist() == [(3 + number) * W.nbytes for number in range(4)]
    assert np.abs(peaks - counted).max() < 64 * KIB


def test_unwatched_steps_have_the_bytes_that_tracemalloc_counts(prof):
    tracemalloc.start(1)
    try:
        counted, kept = [], []
        for number in range(5):
            with prof.phase("forward"):
                kept += [np.ones((number + 1) * 100), np.zeros(50)]
            if number == 3:
                kept.clear()
            prof.step()
            domain = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
            found = tracemalloc.take_snapshot().filter_traces([domain]).traces
            counted.append(sum(trace.size for trace in found))
        table = prof.steps()
        assert table["live_bytes"].tolist() == counted
        assert counted == [1200, 3200, 6000, 0, 4400]
        assert (table["peak_bytes"] >= table["live_bytes"]).all()
        assert prof.growth().empty  # what is left is the last step's
    finally:
        tracemalloc.stop()


def owner(array):
    return array if array.base is None else owner(array.base)


MOVES = st.lists(
    st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 3), st.booleans()), max_size=8
)


@settings(max_examples=40, deadline=None)
@given(MOVES)
def test_growth_is_what_weakrefs_find_alive(plan):
    made, kept = [], []
    with mp.Profiler() as prof:
        x = prof.watch(np.ones(10), "x")
        for number, (size, keeps, dropped, in_place) in enumerate(plan):
            with prof.phase("forward"):
                array = np.tile(x, size)
                made.append((number, weakref.ref(owner(array))))
                if in_place and kept:
                    kept[-1][:5] += 1  # as old as it was
            if keeps:
                kept.append(array[1:])  # a view keeps all of it
            del array, kept[:dropped]
            prof.step()
        latest = len(plan) - 1  # it is not counted before something is made after it
        left = [(n, ref()) for n, ref in made if ref() is not None and n < latest]
        table = prof.growth()
    assert table["bytes"].sum() == sum(array.nbytes for _, array in left)
    assert table["count"].sum() == len(left)
    if left:
        assert table["first_step"].min() == min(number for number, _ in left)
        assert table["steps"].max() == len({number for number, _ in left})


def test_what_is_let_go_of_is_no_growth_any_more(prof):
    kept = []
    train(prof, 3, kept=kept)
    assert prof.growth().iloc[0]["count"] == 2
    kept.clear()
    assert len(prof.growth()) == 0
    kept.append(prof.watch(np.ones(3), "late"))  # of the step that is not over
    assert len(prof.growth()) == 0


def test_state_that_is_made_once_is_no_growth_if_it_is_called_so(prof):
    W = prof.watch(np.ones(10), "W", category="parameter")
    m = None
    for _ in range(3):
        with prof.phase("update"):
            if m is None:
                m = prof.watch(W * 0, "m", category="optimizer_state")
            m += 1
        prof.step()
    assert len(prof.growth()) == 0
    assert prof.steps()["growth_bytes"].tolist() == [80, 0, 0]


def test_steps_may_end_inside_of_an_epoch_but_not_inside_of_a_pass(prof):
    x = prof.watch(np.ones(10), "x")
    with prof.phase("epoch"):
        for _ in range(2):
            with prof.phase("forward"):
                x + 1
            prof.step()
        with (
            prof.phase("forward"),
            prof.phase("attention"),
            pytest.raises(PhaseError, match=r"step\(\) ends a step while its phase 'forward' is"),
        ):
            prof.step()
    assert len(prof.steps()) == 2
    assert "open" not in prof.traces[0].about


def test_a_step_ends_in_the_thread_that_opens_the_phases(prof):
    errors = []

    def work():
        try:
            prof.step()
        except PhaseError as error:
            errors.append(str(error))

    with prof.phase("epoch"):
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
    assert "step() is called in one thread while 'epoch' is open in another" in errors[0]


def test_a_closed_profiler_has_its_steps_and_ends_no_other():
    with mp.Profiler() as prof:
        kept = []
        train(prof, 3, kept=kept)
    assert len(prof.steps()) == 3
    assert prof.growth().iloc[0]["count"] == 2
    with pytest.raises(PhaseError, match="closed"):
        prof.step()


def test_a_step_that_begins_the_loop_has_nothing_to_end(prof):
    assert prof.traces == []
    assert len(prof.steps()) == len(prof.growth()) == 0
    kept = []
    for _ in range(3):
        prof.step()
        kept.append(np.ones(MIB // 8))
    assert prof.steps()["live_bytes"].tolist() == [MIB, 2 * MIB]
    assert prof.growth()[["bytes", "count", "steps"]].values.tolist() == [[MIB, 1, 1]]
    assert prof.growth().columns.tolist() == growth_table([]).columns.tolist()


def test_steps_in_which_numpy_has_nothing_are_rows_too(prof):
    for _ in range(3):
        prof.step()
    table = prof.steps()
    assert table["live_bytes"].tolist() == [0, 0]
    assert len(prof.growth()) == 0


def test_the_steps_of_another_framework_are_warned_of(torch):
    kept = []
    with mp.Profiler() as prof:
        prof.step()
        kept.append(torch.ones(10))
        with pytest.warns(UserWarning, match="PyTorch was at work"):
            prof.step()
        kept.append(torch.ones(10))
        prof.step()  # is said once
    assert prof.growth().attrs["unseen"] == prof.steps().attrs["unseen"] == "PyTorch"


def test_tracing_ends_with_a_profiler_that_had_only_steps():
    with mp.Profiler() as prof:
        prof.step()
        assert tracemalloc.is_tracing()
    gc.collect()
    assert not tracemalloc.is_tracing()
