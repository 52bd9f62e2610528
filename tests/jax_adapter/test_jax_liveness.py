"""The peak of a block, which decides between branches."""

import pytest


@pytest.fixture
def program(mpj):
    from memprop.jax import program

    return program


def value(program, size, base=None):
    return program.Value("v", (size,), "int8", size, False, base)


def step(program, reads, makes, keeps=()):
    return program.Step(
        operator="f", site="", reads=tuple(reads), makes=tuple(makes), keeps=tuple(keeps)
    )


def peak(program, steps, outputs):
    from memprop.jax.liveness import peak

    return peak(program.Block(steps, outputs))


def test_a_chain_holds_two_neighbours(program):
    a, b, c = (value(program, size) for size in (5, 7, 11))
    steps = [step(program, [], [a]), step(program, [a], [b]), step(program, [b], [c])]
    assert peak(program, steps, [c]) == 7 + 11


def test_outputs_live_to_the_end(program):
    a, b, c = (value(program, size) for size in (5, 7, 11))
    steps = [step(program, [], [a]), step(program, [a], [b]), step(program, [b], [c])]
    assert peak(program, steps, [a, c]) == 5 + 7 + 11


def test_views_share_their_bytes_and_keep_them(program):
    a = value(program, 5)
    view = value(program, 5, a)
    again = value(program, 5, view)
    c = value(program, 11)
    steps = [
        step(program, [], [a]),
        step(program, [a], [view]),
        step(program, [view], [again]),
        step(program, [again], [c]),
    ]
    assert peak(program, steps[:3], [again]) == 5
    assert peak(program, steps, [c]) == 5 + 11


def test_what_comes_from_outside_does_not_count(program):
    outside, a = value(program, 100), value(program, 5)
    view = value(program, 100, outside)
    steps = [step(program, [outside], [view]), step(program, [view], [a])]
    assert peak(program, steps, [a]) == 5


def test_what_is_kept_does_not_die(program):
    a, b = value(program, 5), value(program, 7)
    steps = [step(program, [], [a]), step(program, [], [b]), step(program, [], [], keeps=[a])]
    assert peak(program, steps, []) == 5 + 7
    assert peak(program, steps[:2], []) == 7
