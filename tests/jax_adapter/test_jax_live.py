"""A loop of real steps: what is alive after each, by hand, and what is left, by weakref."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memprop.errors import PhaseError
from memprop.traces.steps import growth_table, steps_table


@pytest.fixture(autouse=True)
def nothing_else_dies():
    """Arrays of other tests that wait for the garbage collector would die in the loop."""
    gc.collect()


@pytest.fixture(scope="module")
def step(jax):
    def step(w, x):
        hidden = x @ w
        return w - 0.1 * x.T @ hidden, hidden

    return jax.jit(step)


def test_the_activations_that_a_loop_keeps_are_named_by_their_line(jax, mpj, step):
    w, x, kept = jax.numpy.ones((8, 16)), jax.numpy.ones((4, 8)), []
    with mpj.profile() as prof:
        for _ in range(6):
            w, hidden = step(w, x)
            kept.append(hidden)
            prof.step()
    line = test_the_activations_that_a_loop_keeps_are_named_by_their_line.__code__.co_firstlineno
    (row,) = prof.growth().itertuples()
    assert row.line.startswith(f"{Path(__file__).name}:{line + 4} (test_the_activations")
    assert (row.shape, row.dtype) == ((4, 16), "float32")
    assert (row.bytes, row.count, row.steps, row.first_step) == (5 * 4 * 16 * 4, 5, 5, 0)
    assert prof.steps()["growth_bytes"].tolist() == [4 * 16 * 4] * 6
    del kept[:3]
    assert prof.growth()["count"].tolist() == [2]


def test_a_loop_that_keeps_nothing_leaves_nothing(jax, mpj, step):
    w, x = jax.numpy.ones((8, 16)), jax.numpy.ones((4, 8))
    with mpj.profile() as prof:
        for _ in range(3):
            w, _ = step(w, x)
            prof.step()
    assert len(prof.growth()) == 0
    assert prof.growth().columns[:8].tolist() == growth_table([]).columns.tolist()
    assert prof.steps()["growth_bytes"].tolist()[1:] == [0, 0]


def test_what_was_given_away_is_not_alive(jax, mpj):
    update = jax.jit(lambda w: w + 1, donate_argnums=0)
    w, old = jax.numpy.zeros(1024), []
    with mpj.profile() as prof:
        for _ in range(3):
            old.append(w)
            w = update(w)
            prof.step()
    assert prof.steps()["growth_bytes"].tolist() == [0, 0, 0]
    assert len(prof.growth()) == 0


def test_what_cannot_be_known_is_missing(mpj):
    with mpj.profile() as prof:
        assert len(prof.steps()) == len(prof.growth()) == 0
        prof.step()
    table = prof.steps()
    assert table.columns.tolist() == steps_table([]).columns.tolist()
    known = ["step", "live_bytes", "growth_bytes", "seconds"]
    assert table.columns[table.notna().all()].tolist() == known
    assert table.drop(columns=known).isna().all(axis=None)


def test_steps_belong_into_the_block(mpj):
    prof = mpj.profile()
    with pytest.raises(PhaseError, match=r"with mpj\.profile"):
        prof.step()
    with prof:
        pass
    with pytest.raises(PhaseError, match=r"with mpj\.profile"):
        prof.step()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.integers(0, 3)), max_size=8))
def test_growth_is_what_weakrefs_find_alive(jax, mpj, plan):
    made, kept = [], []
    with mpj.profile() as prof:
        for number, (size, keeps, dropped) in enumerate(plan):
            array = jax.device_put(np.zeros(size, "int8"))
            made.append((number, weakref.ref(array)))
            if keeps:
                kept.append(array)
            del array, kept[:dropped]
            prof.step()
    left = [ref() for number, ref in made if number < len(plan) - 1 and ref() is not None]
    assert prof.growth()["bytes"].sum() == sum(array.nbytes for array in left)
    assert prof.growth()["count"].sum() == len(left)
