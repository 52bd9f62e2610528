"""What a kernel promises, held for every operator that is registered."""

import gc
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from oracles import FORMULAS, central_differences
from rule_cases import (
    LARGE,
    OPERANDS,
    SMALL,
    Size,
    as_in_a_step,
    bind,
    cases,
    made_by,
    subsets,
)

from memprop.graph.blocks import BLOCK_ELEMENTS
from memprop.graph.rules import rule, rule_names

DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 3e-5, "float64": 1e-11}
"""Of the largest number of a result: sums of thousands of numbers are rounded."""

EXACT = ("relu", "relu_backward", "identity", "one", "count")
"""The operators that round nothing: they choose bits."""

DRAWS = ("dropout", "dropout_backward", "dropout_keeping_mask")
"""The operators whose formula must know in which dtype they draw."""


@pytest.fixture(autouse=True)
def quiet():
    with as_in_a_step():
        yield


def test_every_operator_has_operands_and_a_formula():
    """Whoever registers an operator enters it in both tables; the tests below are then its own."""
    assert set(OPERANDS) == set(FORMULAS) == set(rule_names())


def test_sizes_pass_the_end_of_a_block_and_of_the_next():
    sizes = {size.n * size.d for size in LARGE} | {size.k * size.d for size in LARGE}
    assert sum(elements > 2 * BLOCK_ELEMENTS for elements in sizes) >= 2
    assert all(elements % BLOCK_ELEMENTS for elements in sizes)


def expected(case, dtype):
    """The results by the formula, in float64."""
    operands = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in case.operands]
    more = {"dtype": dtype} if case.name in DRAWS else {}
    found = FORMULAS[case.name](*operands, **case.attributes, **more)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SMALL + LARGE, ids=str)
@pytest.mark.parametrize("name", rule_names())
def test_results_are_those_of_the_formula_written_in_full(name, size, dtype):
    for case in cases(name, size, dtype):
        bound = bind(case).run()
        for found, formula in zip(bound.results, expected(case, dtype), strict=True):
            assert found.shape == np.shape(formula)
            atol = 0 if name in EXACT else TOLERANCE[dtype] * max(np.abs(formula).max(), 1e-3)
            np.testing.assert_allclose(found, formula, rtol=0, atol=atol)
        for place in bound.kept:
            np.testing.assert_array_equal(bound.operands[place], case.operands[place])


IN_PLACE = [name for name in rule_names() if rule(name).in_place]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [SMALL[1], *LARGE], ids=str)
@pytest.mark.parametrize("name", IN_PLACE)
def test_every_subset_of_in_place_pairs_gives_the_same_bits(name, size, dtype):
    for case in cases(name, size, dtype):
        apart = bind(case).run()
        for into in subsets(case):
            over = bind(case, into).run()
            for found, wanted in zip(over.results, apart.results, strict=True):
                np.testing.assert_array_equal(found, wanted, err_msg=f"{into}")
            for place in over.kept:
                np.testing.assert_array_equal(over.operands[place], case.operands[place])


def test_pairs_that_fit_are_tried_alone_and_together():
    (case,) = cases("sigmoid_backward", SMALL[1], "float64")
    over_dh, over_h = ("dz", "dh"), ("rest", "h")
    assert list(subsets(case)) == [(), (over_dh,), (over_h,), (over_dh, over_h)]
    (case,) = cases("add", SMALL[1], "float64")  # one sum cannot lie over both
    assert list(subsets(case)) == [(), (("sum", "a"),), (("sum", "b"),)]


@pytest.mark.parametrize("size", [SMALL[1], *LARGE], ids=str)
@pytest.mark.parametrize("name", rule_names())
def test_calls_bound_once_compute_on_what_the_arrays_hold_then(name, size):
    for first, second in zip(
        cases(name, size, "float32", 1), cases(name, size, "float32", 2), strict=True
    ):
        bound = bind(first)
        calls = tuple(bound.calls())
        for call in calls:
            call()
        for array, content in zip(bound.operands, second.operands, strict=True):
            array[...] = content
        for call in calls:
            call()
        for found, wanted in zip(bound.results, bind(second).run().results, strict=True):
            np.testing.assert_array_equal(found, wanted)


OBJECTS = 12 * 1024
"""Bytes of Python objects that running a kernel may take: calls, views, a generator of Philox."""


@pytest.mark.parametrize("size", LARGE, ids=str)
@pytest.mark.parametrize("name", rule_names())
def test_a_kernel_allocates_no_array(name, size):
    """A mask of the larger operands would take 32 KiB, a number for each of 4,683 samples 18."""
    for case in cases(name, size, "float32"):
        bind(case).run()  # what is made once, as the BLAS's functions are
        bound = bind(case)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            bound.run()
            assert tracemalloc.get_traced_memory()[1] - before <= OBJECTS
        finally:
            tracemalloc.stop()


# FLOPs


def flops_of(call):
    """What one call computes: an operation an element, two where it multiplies and adds."""
    function, arguments = call.func, [a for a in call.args if isinstance(a, np.ndarray)]
    owner = getattr(function, "__self__", None)
    if isinstance(function, np.ufunc):
        return arguments[-1].size
    if isinstance(owner, np.ufunc) and function.__name__ == "reduce":
        return arguments[0].size
    if isinstance(owner, np.ndarray):
        return owner.size if function.__name__ == "clip" else 0  # take, put and fill only move
    if function is np.dot:
        a, b = arguments[:2]
        return 2 * a.size * (b.shape[1] if b.ndim == 2 else 1)
    if "axpy" in repr(function):
        return 2 * call.args[2]
    return arguments[0].size if "scal" in repr(function) else 0


OTHERWISE = {
    "relu_backward": 2,  # a comparison and a choice, done by three passes over bits
    "column_sum": 1,  # a sum, done as a product with ones
    "penalty": 2,
    "cross_entropy_backward_from_output": 5,  # the product with dL / n is not counted
    **dict.fromkeys(DRAWS, 3),  # a comparison, and two products
    "dropout_backward_from_mask": 3,  # the same, its comparison in forward
}
"""FLOPs an element where the calls do something else, or hide what they do."""


@pytest.mark.parametrize("name", rule_names())
def test_flops_are_what_the_calls_compute(name):
    size = Size(40, 300, 20)
    for case in cases(name, size, "float64"):
        declared = rule(name).flops(*case.specs, **case.attributes).at(size.n)
        largest = max((array.size for array in case.operands), default=0)
        if name in OTHERWISE:
            weights = sum(array.size for array in case.operands)
            assert declared == OTHERWISE[name] * (weights if name == "penalty" else largest)
            continue
        counted = sum(flops_of(call) for call in bind(case).calls())
        # A few numbers for each sample are left out.
        assert abs(counted - declared) <= max(0.1 * largest, 3), (counted, declared)


# Gradients, each entry of a rule by itself

FORMS = [
    (name, form)
    for name in rule_names()
    for form in ("textbook", "lean")
    if rule(name).derivative(form) and (form == "textbook" or rule(name).lean_gradients)
]


@pytest.mark.parametrize("size", [Size(3, 5, 2), Size(1, 4, 1)], ids=str)
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_gradients_are_those_of_central_differences(name, form, size):
    for case in cases(name, size, "float64"):
        check_gradients(case, form)


def check_gradients(case, form):
    definition = rule(case.name)
    generator = np.random.default_rng(5)
    results = dict(zip(definition.writes, bind(case).run().results, strict=True))
    specs = dict(zip(definition.writes, made_by(case), strict=False))
    asked = {port for gradient in definition.derivative(form) for port in gradient.reads}
    seeds = {
        f"d{port}": np.asarray(generator.standard_normal(array.shape))
        for port, array in results.items()
        if f"d{port}" in asked
    }
    assert seeds, "no gradient of a result is read"
    specs |= {port: specs[port[1:]] for port in seeds}

    def objective():
        found = dict(zip(definition.writes, bind(case).run().results, strict=True))
        return sum(float((seed * found[port[1:]]).sum()) for port, seed in seeds.items())

    ports = definition.ports(len(case.operands))
    operands = dict(zip(ports, zip(case.specs, case.operands, strict=True), strict=True))
    known = {**operands, **{n: (specs[n], a) for n, a in {**results, **seeds}.items()}}
    for gradient in definition.derivative(form):
        for place in (number for number, port in enumerate(ports) if port == gradient.of):
            spec, operand = case.specs[place], case.operands[place]
            begun = np.zeros_like(operand)
            reads = [{**known, gradient.of: (spec, operand)}[port] for port in gradient.reads]
            if gradient.accumulates:
                begun = generator.standard_normal(operand.shape)
                reads.insert(0, (spec, begun))
            found = reads[0][1] if gradient.rule is None else computed(gradient.rule, reads, case)
            wanted = begun + central_differences(objective, operand)
            scale = max(np.abs(wanted).max(), 1e-3)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-7 * scale)


def computed(name, reads, case):
    """What the rule of a gradient makes of ``reads``, by the constants of the forward operator."""
    specs, operands = zip(*reads, strict=True)
    return bind(replace(case, name=name, specs=specs, operands=operands)).run().results[0]


LEAN = [name for name in rule_names() if rule(name).lean_rule]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LEAN)
def test_the_lean_rule_gives_the_same_bits_beside_its_residual(name, dtype):
    lean = str(rule(name).lean_rule)
    for size in (*SMALL, *LARGE):
        for plain, other in zip(cases(name, size, dtype), cases(lean, size, dtype), strict=True):
            results = bind(plain).run().results
            for found, wanted in zip(bind(other).run().results, results, strict=False):
                np.testing.assert_array_equal(found, wanted)
