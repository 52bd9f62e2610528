"""Kernels by themselves: their calls, at the numbers where floating point is odd."""

import numpy as np
import pytest

import memprop as mp
from memprop.graph.rules import rule

ODD = [-np.inf, -1.5, -1e-45, -0.0, 0.0, 1e-45, 1e-38, 1.5, np.inf]


def run(name, *arrays):
    for call in rule(name).kernel(*arrays):
        call()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("copies", [1, 1000])  # small arrays and large ones take different loops
def test_relu_and_its_derivative_are_right_at_zeros_and_denormals(dtype, copies):
    z = np.tile(np.array(ODD, dtype=dtype), (copies, 1))
    h, dh = np.empty_like(z), np.full_like(z, -2.0)
    run("relu", z, h)
    np.testing.assert_array_equal(h, np.where(z > 0, z, 0))
    for kept in (z, h.copy()):
        dz = np.empty_like(z)
        run("relu_backward", dh, kept, dz)
        np.testing.assert_array_equal(dz, np.where(z > 0, -2.0, 0))
    run("relu_backward", dh, h, h)  # over the operand that dies
    np.testing.assert_array_equal(h, np.where(z > 0, -2.0, 0))


@pytest.mark.parametrize("copies", [1, 1000])
def test_relu_hides_no_nan(copies):
    z = np.full((copies, 4), np.nan, dtype=np.float32)
    for sign in (1, -1):  # the NaN of 0 * inf has its sign bit set
        run("relu", np.copysign(z, sign), h := np.empty_like(z))
        assert np.isnan(h).all()


def test_calls_may_be_made_again_on_other_numbers():
    random = np.random.default_rng(0)
    x, W, b, z = (np.empty(shape) for shape in ((6, 3), (4, 3), (4,), (6, 4)))
    calls = tuple(rule("affine").kernel(x, W, b, z))
    for _ in range(2):
        for array in (x, W, b):
            array[...] = random.standard_normal(array.shape)
        for call in calls:
            call()
        np.testing.assert_allclose(z, np.einsum("bi,oi->bo", x, W) + b, rtol=1e-12)


def test_what_an_arena_holds_begins_with_a_cache_line():
    for batch in (1, 7, 64):
        step = mp.Step(mp.MLP([5, 9, 3]), batch, allocator="arena")
        step(np.ones((batch, 5)), np.zeros(batch, dtype=int))
        assert all(array.ctypes.data % 64 == 0 for array in step.gradients.values())


def test_a_step_neither_warns_nor_changes_how_numpy_warns():
    before = np.geterr(), np.getbufsize()
    step = mp.Step(mp.MLP([2, 3, 2], activation="sigmoid"), 2)
    step(np.full((2, 2), -3e38, dtype=np.float32), [0, 1])  # squares and exponentials overflow
    assert (np.geterr(), np.getbufsize()) == before
