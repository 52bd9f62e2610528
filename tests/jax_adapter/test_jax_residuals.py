"""The residuals are those that JAX itself reports."""

import contextlib
import inspect
import io
from collections import Counter

import pytest
from jax_cases import CASES, cnn, jitted, mlp, scanned, shaped


def agree(ours, theirs):
    """Whether two descriptions of a residual are the same. Before JAX 0.10 its report named the
    rounding that marks what a checkpoint saves, and not what made the value."""
    if "reduce_precision" in theirs:
        return ours.rpartition(" from ")[2] == theirs.rpartition(" from ")[2]
    return ours == theirs


@pytest.mark.parametrize("case", CASES)
def test_residuals_are_those_of_jax(case, jax, mpj):
    from jax._src.ad_checkpoint import saved_residuals

    fun, args = CASES[case](jax)
    expected = saved_residuals(fun, *args)
    found = mpj.saved_residuals(fun, *args)
    assert len(found) > 0
    assert found["shape"].tolist() == [aval.shape for aval, _ in expected]
    assert found["dtype"].tolist() == [str(aval.dtype) for aval, _ in expected]
    told = zip(found["reported"], (source for _, source in expected), strict=True)
    assert all(agree(ours, theirs) for ours, theirs in told)


@pytest.mark.parametrize("case", CASES)
def test_the_printed_report_has_the_same_lines(case, jax, mpj):
    from jax.ad_checkpoint import print_saved_residuals

    fun, args = CASES[case](jax)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        print_saved_residuals(fun, *args)
    lines = (line.split(" ", 1)[1] for line in printed.getvalue().splitlines())
    told = zip(mpj.saved_residuals(fun, *args)["reported"], lines, strict=True)
    assert all(agree(ours, theirs) for ours, theirs in told)


@pytest.mark.parametrize("case", CASES)
def test_residuals_are_the_arrays_that_a_real_vjp_holds(case, jax, mpj):
    def filled(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        return jax.numpy.ones(leaf.shape, leaf.dtype)

    fun, args = CASES[case](jax)
    _, pullback = jax.vjp(fun, *jax.tree.map(filled, args))
    held = Counter((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(pullback))
    found = mpj.saved_residuals(fun, *args)
    assert Counter(zip(found["shape"], found["dtype"], strict=True)) == held


@pytest.mark.parametrize("case", CASES)
def test_what_a_trace_keeps_are_the_residuals(case, jax, mpj):
    """But for parameters, which are there anyway, and zeros, which backward makes for itself."""
    fun, args = CASES[case](jax)
    found = mpj.saved_residuals(fun, *args, argnums=0)
    of_parameter = (found["origin"] == "argument") & ~found["name"].isin(["x", "xs", "y"])
    expected, kept = found[~of_parameter], mpj.simulate(fun, *args, compile=False).intermediates()
    ours = Counter(zip(kept["variable"].str.split("#").str[0], kept["shape"], strict=True))
    theirs = Counter(zip(expected["name"], expected["shape"], strict=True))
    assert ours <= theirs
    assert {name for name, _ in theirs - ours} <= {"broadcast_in_dim"}


def test_a_residual_names_the_line_that_made_it(jax, mpj):
    fun, args = mlp(jax)
    found = mpj.saved_residuals(fun, *args)
    lines, first = inspect.getsourcelines(fun)
    line = next(number for number, text in enumerate(lines, first) if "tanh" in text)
    made = found[found["primitive"] == "tanh"]
    assert made["site"].tolist() == [f"jax_cases.py:{line} (mlp.<locals>.loss)"] * 2


def test_a_function_of_jax_is_at_the_line_of_its_caller(jax, mpj):
    """JAX traces relu once; the lines in its jaxpr are those of whoever called it first."""

    def first(x):
        return jax.nn.relu(x).sum()

    def second(x):
        return (jax.nn.relu(x) ** 2).sum()

    x = shaped(jax, 7, 9)
    for fun in (first, second):
        trace = mpj.simulate(fun, x, compile=False)
        relu = [operator for operator in trace.operators if operator.name == "max"]
        assert relu[0].site.endswith(f"(test_a_function_of_jax_is_at_the_line_of_its_caller"
                                     f".<locals>.{fun.__name__})")  # fmt: skip


def test_a_residual_of_a_jitted_function_names_the_primitive_inside(jax, mpj):
    fun, args = jitted(jax)
    found = mpj.saved_residuals(fun, *args)
    inside = found[found["reported"].str.startswith("output of jitted function 'inner'")]
    assert {"tanh", "exp"} <= set(inside["primitive"])
    assert inside["site"].str.contains("inner").all()


def test_arguments_that_are_not_differentiated_by_need_fewer_residuals(jax, mpj):
    fun, args = mlp(jax)
    by_all = mpj.saved_residuals(fun, *args)
    by_data = mpj.saved_residuals(fun, *args, argnums=1)
    assert "x" in by_all["name"].tolist()
    assert "x" not in by_data["name"].tolist()


@pytest.mark.parametrize("length", [1, 3, 10])
def test_residuals_of_a_scan_are_stacked(length, jax, mpj):
    fun, args = scanned(jax, length)
    found = mpj.saved_residuals(fun, *args)
    made = found[found["primitive"] == "scan"]
    assert len(made) > 0
    assert all(shape[0] == length for shape in made["shape"])
    assert (made["bytes"] == 4 * length * 4 * 8).all()


def test_a_policy_keeps_what_it_says(jax, mpj):
    """Three blocks on (4, 8) float32: each keeps its input; and the product, or the name."""
    kept = {
        name: mpj.simulate(*_with(CASES[f"checkpoint_{name}"], jax), compile=False).saved_bytes
        for name in ("nothing", "dots", "names", "everything")
    }
    size = 4 * 4 * 8
    assert kept["nothing"] == 3 * size
    assert kept["dots"] == kept["names"] == 6 * size
    assert kept["everything"] > kept["dots"]


def test_zeros_that_backward_makes_for_itself_are_in_the_report_only(jax, mpj):
    fun, args = cnn(jax)
    found = mpj.saved_residuals(fun, *args, argnums=0)
    zeros = found[found["primitive"] == "broadcast_in_dim"]
    assert len(zeros) == 2
    assert mpj.simulate(fun, *args, compile=False).saved_bytes < found["bytes"].sum()


def _with(case, jax):
    fun, args = case(jax)
    return fun, *args
