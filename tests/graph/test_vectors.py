"""x *= a and y += a x by the BLAS, against exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprop.errors import GraphError
from memprop.graph.vectors import PIECE, REACH, add_scaled, scale

DTYPES = ("float32", "float64")
SHAPES = [(), (1,), (3, 5), (PIECE - 1,), (PIECE,), (2, PIECE), (7, PIECE // 3), (REACH + 5,)]


def make(calls):
    for call in calls:
        call()


def numbers(shape, dtype, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_element_is_reached_once_and_no_other(shape, dtype):
    x, y = numbers(shape, dtype, 0), numbers(shape, dtype, 1)
    kept, before = x.copy(), y.copy()
    make(add_scaled(-0.5, x, y))  # a half and a double are exact: nothing but the sum is rounded
    np.testing.assert_array_equal(y, before - kept / 2)
    make(scale(2.0, y))
    np.testing.assert_array_equal(y, 2 * (before - kept / 2))
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("dtype", DTYPES)
@given(st.data())
def test_sums_are_rounded_at_most_twice(dtype, data):
    bits = np.dtype(dtype).itemsize * 8
    floats = st.floats(-1e3, 1e3, width=bits)
    a, x, y = (data.draw(floats) for _ in range(3))
    result = np.array([y], dtype=dtype)
    make(add_scaled(a, np.array([x], dtype=dtype), result))
    exact = Fraction(a) * Fraction(x) + Fraction(y)
    largest = max(abs(Fraction(a) * Fraction(x)), abs(exact))
    tiny = Fraction(float(np.finfo(dtype).smallest_normal))
    assert (
        abs(Fraction(float(result[0])) - exact)
        <= largest * Fraction(float(np.finfo(dtype).eps)) + tiny
    )


@pytest.mark.parametrize("dtype", ["float16", "int64", "longdouble"])
def test_no_copy_is_changed_instead_of_what_was_given(dtype):
    with pytest.raises(GraphError, match=f"not in {np.dtype(dtype)}"):
        make(scale(2.0, np.ones(3, dtype=dtype)))


def test_a_factor_in_an_array_is_read_when_the_call_is_made():
    factor, x, y = np.array(0.0), np.ones(3), np.zeros(3)
    calls = list(add_scaled(factor, x, y))
    for number in (2.0, -0.5):
        factor[...] = number
        make(calls)
    np.testing.assert_array_equal(y, np.full(3, 1.5))
