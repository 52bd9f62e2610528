"""Fifty steps end at PyTorch's parameters, whatever keeps the intermediates."""

import itertools

import numpy as np
import pytest
from cases import LOSSES, OPTIMIZERS, data, model, with_random_biases
from oracles import torch_model, torch_named, torch_objective

import memprop as mp


def torch_optimizer(torch, name, parameters):
    """PyTorch's optimizer with the constants of ``OPTIMIZERS[name]``."""
    optim = torch.optim
    return {
        "sgd": lambda: optim.SGD(parameters, lr=0.05),
        "momentum": lambda: optim.SGD(parameters, lr=0.05, momentum=0.8),
        "adam": lambda: optim.Adam(parameters, lr=0.01),
        "adamw": lambda: optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
    }[name]()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_fifty_steps_equal_pytorch(torch, name, loss):
    for schedule, allocator in itertools.product(("textbook", "lean"), ("heap", "arena")):
        mlp = with_random_biases(model(2, activation="tanh", loss=loss, l2=0.01, dtype="float64"))
        net = torch_model(torch, mlp.widths, mlp.parameters, "tanh", True, "float64")
        optimizer = torch_optimizer(torch, name, net.parameters())
        step = mp.Step(mlp, 6, schedule, optimizer=OPTIMIZERS[name], allocator=allocator)
        for seed in range(50):
            x, y = data(mlp, seed=seed)
            step(x, y)
            optimizer.zero_grad()
            batch = torch.from_numpy(x), torch.from_numpy(y)
            torch_objective(torch, net, *batch, loss, 0.01).backward()
            optimizer.step()
        for parameter, expected in torch_named(net).items():
            np.testing.assert_allclose(mlp.parameters[parameter], expected, rtol=1e-10, atol=1e-13)


def test_updates_pass_over_parameters_larger_than_a_block():
    """One SGD step by hand on weights of more than 4,096 elements, whose last block is short."""
    mlp = mp.MLP([70, 61, 3], dtype="float64")
    x, y = data(mlp)
    before = {name: array.copy() for name, array in mlp.parameters.items()}
    gradients = mp.trace(mlp, x, y).outputs["gradients"]
    mp.trace(mlp, x, y, optimizer=mp.SGD(0.5))
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(mlp.parameters[name], before[name] - 0.5 * gradient)


def test_the_last_short_step_of_an_epoch_shares_the_optimizer_state():
    steps = mp.MLP([5, 4, 3], dtype="float64")
    fitted = mp.MLP([5, 4, 3], dtype="float64")
    x, y = data(steps, batch=10)
    order = np.random.default_rng(3).permutation(10)
    step = mp.Step(steps, 4, optimizer="adam")
    step(x[order[:4]], y[order[:4]])
    step(x[order[4:8]], y[order[4:8]])
    step.with_batch(2)(x[order[8:]], y[order[8:]])
    fitted.fit(x, y, epochs=1, batch=4, optimizer="adam", seed=3)
    for name, array in steps.parameters.items():
        np.testing.assert_array_equal(fitted.parameters[name], array)


def test_adam_learns_the_digits():
    train, test = mp.load_digits().split(test_fraction=0.2, seed=0)
    mlp = mp.MLP([64, 128, 64, 10])
    history = mlp.fit(
        train.x, train.y, epochs=25, optimizer=mp.Adam(1e-3), validation=(test.x, test.y)
    )
    assert list(history) == ["epoch", "loss", "objective", "seconds", "validation_score"]
    assert history["loss"].iloc[-1] < 0.1 * history["loss"].iloc[0]
    assert mlp.score(test.x, test.y) >= 0.97
    assert np.mean(mlp.predict(test.x) == test.y) == mlp.score(test.x, test.y)
