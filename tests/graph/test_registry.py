"""Users register their own operators, which are then treated like memprop's own."""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

import memprop as mp
from memprop.checks import Positive, option
from memprop.errors import (
    InvalidTypeError,
    OperatorCheckError,
    RegistrationError,
    UnknownNameError,
)
from memprop.graph.rules import constant


@contextmanager
def registered(*entries):
    """``entries`` registered for the time being."""
    mp.register(*entries)
    try:
        yield
    finally:
        for entry in entries:
            entry.registry.remove(entry.name if isinstance(entry, mp.Rule) else entry.rule)


def forward(z, h):
    """Softsign, h = z / (1 + |z|)."""
    yield partial(np.abs, z, h)
    yield partial(np.add, h, constant(1, h), h)
    yield partial(np.divide, z, h, h)


def backward(dh, h, dz):
    """dz = dh (1 - |h|)^2."""
    yield partial(np.abs, h, dz)
    yield partial(np.subtract, constant(1, dz), dz, dz)
    yield partial(np.multiply, dz, dz, dz)
    yield partial(np.multiply, dz, dh, dz)


def wrong_backward(dh, h, dz):
    yield partial(np.abs, h, dz)
    yield partial(np.subtract, constant(1, dz), dz, dz)
    yield partial(np.multiply, dz, dh, dz)


def allocating(z, h):
    yield lambda: np.copyto(h, z / (1 + np.abs(z)))


class Softsign(mp.Activation):
    rule = "softsign"


def softsign(kernel=forward, derivative=backward, flops=3, backward_flops=4):
    return (
        mp.elementwise(
            "softsign",
            kernel,
            flops=flops,
            backward="softsign_backward",
            backward_reads="h",
            in_place=False,
        ),
        mp.elementwise_backward(
            "softsign_backward",
            derivative,
            flops=backward_flops,
            reads="h",
            in_place=(("dz", "h"),),
        ),
        Softsign,
    )


def test_a_users_activation_is_checked_trained_predicted_scheduled_and_drawn(tmp_path):
    with registered(*softsign()):
        assert mp.check_operator("softsign", formula=lambda z: z / (1 + abs(z)))[:2] == (
            "softsign",
            "softsign_backward",
        )
        model = mp.MLP([64, 32, 32, 32, 10], activation="softsign")
        data = mp.load_digits()
        x, y = data.batch(128, 0)
        for schedule in ("textbook", "lean", "sqrt", "revolve:2", "budget:95%"):
            trace = mp.trace(model, x, y, schedule=schedule)
            assert trace == mp.simulate(model, 128, schedule=schedule)
        history = model.fit(x, y, epochs=3, progress=False)
        assert history["loss"].is_monotonic_decreasing
        drawn = model.graph().to_dot(backward=True)
        assert "softsign_1" in drawn
        assert "φ′" in drawn
    with pytest.raises(UnknownNameError, match="softsign"):
        mp.MLP([64, 32, 10], activation="softsign")


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        (softsign(derivative=wrong_backward, backward_flops=3), "central differences"),
        (softsign(kernel=allocating), "allocates"),
        (softsign(flops=30), "declares"),
    ],
    ids=["wrong gradient", "hidden scratch", "wrong FLOPs"],
)
def test_check_operator_finds_what_is_wrong(entries, complaint):
    with registered(*entries), pytest.raises(OperatorCheckError, match=complaint):
        mp.check_operator("softsign")


def test_check_operator_finds_an_operand_that_is_written_to():
    def careless(z, h):
        yield partial(np.abs, z, z)
        yield partial(np.copyto, h, z)

    with registered(*softsign(kernel=careless)), pytest.raises(OperatorCheckError, match="changes"):
        mp.check_operator("softsign")


def test_check_operator_finds_a_result_that_is_not_written_in_full():
    def half(z, h):
        yield partial(np.copyto, h[:1], z[:1])

    with registered(*softsign(kernel=half)), pytest.raises(OperatorCheckError, match="before"):
        mp.check_operator("softsign")


@dataclass(frozen=True)
class SignDescent(mp.Optimizer):
    """W' = W - learning_rate * sign(dW)."""

    learning_rate: float = option(0.01, check=Positive())
    rule = "sign_descent"


def sign_update(_W, dW, W_next, block, *, learning_rate):
    from memprop.graph.blocks import blocks

    for part, weights, gradient in blocks(block, W_next, dW):
        yield partial(np.sign, gradient, part)
        yield partial(np.multiply, part, constant(learning_rate, part), part)
        yield partial(np.subtract, weights, part, weights)


def test_a_users_optimizer_trains_and_is_predicted_to_the_byte():
    entries = mp.update_rule(SignDescent, sign_update, flops=3, scratch=("block",)), SignDescent
    with registered(*entries):
        mp.check_operator(
            "sign_descent", formula=lambda W, dW, *, learning_rate: W - learning_rate * np.sign(dW)
        )
        model = mp.MLP([64, 32, 10])
        x, y = mp.load_digits().batch(256, 0)
        history = model.fit(x, y, epochs=4, optimizer=SignDescent(1e-3), progress=False)
        assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_a_name_can_be_taken_once():
    with pytest.raises(RegistrationError, match="'relu' is registered already"):
        mp.register(mp.ReLU)
    with pytest.raises(RegistrationError, match="'relu' is registered already"):
        mp.register(mp.elementwise("relu", forward, flops=1, backward=None))


def test_what_cannot_be_registered_is_refused():
    with pytest.raises(InvalidTypeError, match="register takes"):
        mp.register("softplus")
    with pytest.raises(RegistrationError, match="identifier"):
        mp.register(mp.elementwise("soft plus", forward, flops=1, backward=None))
    with pytest.raises(RegistrationError, match="no port 'y'"):
        mp.register(
            mp.Rule(
                name="odd",
                reads=("x",),
                writes=("z",),
                infer=lambda x: (x,),
                kernel=forward,
                flops=lambda x: None,
                in_place=(("z", "y"),),
            )
        )
    with pytest.raises(UnknownNameError, match="did you mean 'softplus'"):
        mp.check_operator("softplos")
