"""What a kernel promises, held for every operator that is registered.

The checks are those of ``mp.check_operator``; here each is a test of its own, and what an operator
computes is held against a formula that imports nothing of memprop, where ``oracles`` has one.
"""

from functools import partial

import numpy as np
import pytest
from optional import thorough
from oracles import FORMULAS

import memprop as mp
from memprop.checking.examples import DTYPES, LARGE, SMALL, Size, cases, sizes
from memprop.checking.kernels import (
    as_in_a_step,
    bind,
    check_allocates_nothing,
    check_bound_once,
    check_flops,
    check_gradients,
    check_in_place,
    check_kernel,
    check_lean_rule,
    forms,
    subsets,
)
from memprop.graph.blocks import BLOCK_ELEMENTS
from memprop.graph.rules import rule, rule_names

SIZED = [
    pytest.param(name, size, id=f"{name}-{size}") for name in rule_names() for size in sizes(name)
]
"""Every operator at every size at which something could go wrong."""

EXACT = ("relu", "relu_backward", "identity", "one", "count", "flatten", "unflatten")
"""The operators that round nothing: they choose bits, or move them."""

DRAWS = ("dropout", "dropout_backward", "dropout_keeping_mask")
"""The operators whose formula must know in which dtype they draw."""


def formula(name, dtype):
    found = FORMULAS.get(name)
    return partial(found, dtype=dtype) if name in DRAWS else found


def test_every_formula_is_that_of_an_operator():
    assert set(FORMULAS) <= set(rule_names())


def test_sizes_pass_the_end_of_a_block_and_of_the_next():
    sizes = {size.n * size.d for size in LARGE} | {size.k * size.d for size in LARGE}
    assert sum(elements > 2 * BLOCK_ELEMENTS for elements in sizes) >= 2
    assert all(elements % BLOCK_ELEMENTS for elements in sizes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "size"), SIZED)
def test_results_are_those_of_the_formula_written_in_full(name, size, dtype):
    check_kernel(name, size, dtype, formula(name, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_what_rounds_nothing_is_exact(name, dtype):
    for case in cases(name, LARGE[0], dtype):
        wanted = FORMULAS[name](*case.operands, **case.attributes)
        np.testing.assert_array_equal(bind(case).run().results[0], wanted)


IN_PLACE = [case for case in SIZED if rule(case.values[0]).in_place]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "size"), IN_PLACE)
def test_every_subset_of_in_place_pairs_gives_the_same_bits(name, size, dtype):
    check_in_place(name, size, dtype)


def test_pairs_that_fit_are_tried_alone_and_together():
    (case,) = cases("sigmoid_backward", SMALL[1], "float64")
    over_dh, over_h = ("dz", "dh"), ("rest", "h")
    assert list(subsets(case)) == [(), (over_dh,), (over_h,), (over_dh, over_h)]
    (case,) = cases("add", SMALL[1], "float64")  # one sum cannot lie over both
    assert list(subsets(case)) == [(), (("sum", "a"),), (("sum", "b"),)]


@pytest.mark.parametrize(("name", "size"), SIZED)
def test_calls_bound_once_compute_on_what_the_arrays_hold_then(name, size):
    check_bound_once(name, size)


@thorough
@pytest.mark.parametrize(
    ("name", "size"),
    [(n, s) for n in rule_names() for s in dict.fromkeys((LARGE[0], sizes(n)[-1]))],
)
def test_a_kernel_allocates_no_array(name, size):
    """A mask of the larger operands would take 32 KiB, a number for each of 4,683 samples 18."""
    check_allocates_nothing(name, size)


# FLOPs

OTHERWISE = {
    "relu_backward": 2,  # a comparison and a choice, done by three passes over bits
    "column_sum": 1,  # a sum, done as a product with ones
    "cross_entropy_backward_from_output": 5,  # the product with dL / n is not counted
    **dict.fromkeys(DRAWS, 3),  # a comparison, and two products
    "dropout_backward_from_mask": 3,  # the same, its comparison in forward
}
"""FLOPs an element where the calls do something else, or hide what they do."""


@pytest.mark.parametrize("name", rule_names())
def test_flops_are_what_the_calls_compute(name):
    check_flops(name)


@pytest.mark.parametrize("name", OTHERWISE)
def test_flops_that_cannot_be_counted_are_these(name):
    size = Size(40, 300, 20)
    for case in cases(name, size, "float64"):
        declared = rule(name).flops(*case.specs, **case.attributes).at(size.n)
        assert declared == OTHERWISE[name] * max(array.size for array in case.operands)


def test_only_these_operators_do_not_count_their_calls():
    """A new one would pass without a check of its FLOPs."""
    odd = {name for name in rule_names() if not rule(name).counts_calls}
    assert odd <= {*OTHERWISE, "max_pool_with_index", "max_pool_backward_from_input"}


# Gradients, each entry of a rule by itself

FORMS = [(name, form) for name in rule_names() for form in forms(rule(name))]


@pytest.mark.parametrize("size", [Size(3, 5, 2), Size(1, 4, 1)], ids=str)
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_gradients_are_those_of_central_differences(name, form, size):
    with as_in_a_step():
        check_gradients(name, form, size)


LEAN = [name for name in rule_names() if rule(name).lean_rule]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LEAN)
def test_the_lean_rule_gives_the_same_bits_beside_its_residual(name, dtype):
    for size in sizes(name):
        check_lean_rule(name, size, dtype)


@pytest.mark.parametrize("name", [*mp.Activation.registry, *mp.Loss.registry, "adam", "embedding"])
def test_check_operator_says_what_it_checked(name):
    checked = mp.check_operator(name)
    assert checked[0] == name
    assert any(name in line for line in checked)
