"""FLOPs of the equations of a step, against closed formulas and the count of XLA's compiler."""

import pytest


def flops_of(trace, name):
    return [o.flops for o in trace.operators if o.name.partition("#")[0].endswith(name)]


def test_products_count_two_operations_for_each_multiplication(jax):
    import memprop.jax as mpj

    numbers = jax.numpy

    def loss(w, v, x):
        return ((x @ w) @ v).sum()

    shapes = [numbers.ones(shape) for shape in ((5, 7), (7, 3), (11, 5))]
    trace = mpj.simulate(loss, *shapes, argnums=(0, 1))
    first, second = 2 * 11 * 5 * 7, 2 * 11 * 7 * 3
    # Backward: the gradients of w and v, and that of x @ w.
    assert sorted(flops_of(trace, "dot_general")) == sorted([first, second, first, second, second])


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_counts_its_kernel_at_every_position(jax, groups):
    import memprop.jax as mpj

    def loss(kernel, x):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", feature_group_count=groups
        ).sum()

    kernel = jax.numpy.ones((6, 4 // groups, 3, 3))
    trace = mpj.simulate(loss, kernel, jax.numpy.ones((2, 4, 8, 8)))
    forward = flops_of(trace, "conv_general_dilated")[0]
    assert forward == 2 * (2 * 6 * 6 * 6) * (4 // groups * 3 * 3)


def test_the_body_of_a_scan_counts_as_often_as_it_runs(jax):
    import memprop.jax as mpj

    def loss(w, x):
        last, _ = jax.lax.scan(lambda h, _: (h @ w, None), x, length=9)
        return last.sum()

    trace = mpj.simulate(loss, jax.numpy.ones((4, 4)), jax.numpy.ones((3, 4)))
    assert flops_of(trace, "scan/dot_general")[0] == 9 * 2 * 3 * 4 * 4


def test_of_a_loop_whose_length_the_data_decide_nothing_is_said(jax):
    import memprop.jax as mpj

    def loss(w, x):
        h = jax.lax.while_loop(lambda h: (h < 9).all(), lambda h: h * 2, x)
        return (h @ w).sum()

    trace = mpj.simulate(loss, jax.numpy.ones((4, 4)), jax.numpy.ones((3, 4)))
    assert flops_of(trace, "while/mul") == [None]
    assert flops_of(trace, "dot_general")[0] == 2 * 3 * 4 * 4


def test_the_sum_is_what_the_compiler_counts(jax):
    import memprop.jax as mpj

    numbers = jax.numpy

    def loss(w, v, x):
        h = numbers.maximum(x @ w, 0.0)
        return ((h @ v) ** 2).mean()

    arguments = [numbers.ones(shape) for shape in ((64, 128), (128, 32), (256, 64))]
    trace = mpj.simulate(loss, *arguments, argnums=(0, 1))
    known = [operator.flops for operator in trace.operators]
    assert None not in known
    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(*arguments).compile()
    figures = compiled.cost_analysis()
    figures = figures[0] if isinstance(figures, list) else figures
    assert sum(known) == pytest.approx(figures["flops"], rel=0.02)
