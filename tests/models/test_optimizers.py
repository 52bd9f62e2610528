"""Fifty steps end at PyTorch's parameters, whatever keeps the intermediates."""

import itertools
from dataclasses import fields

import numpy as np
import pytest
from cases import LOSSES, OPTIMIZERS, data, model, with_random_biases
from oracles import OPTIMIZERS as FORMULAS
from oracles import torch_model, torch_named, torch_objective

import memprop as mp
from memprop.graph import optimizers as registry
from memprop.graph.blocks import BLOCK_ELEMENTS


def subclasses(kind):
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def test_every_optimizer_is_tested():
    """Whoever adds an optimizer gives it a name, and enters it in ``OPTIMIZERS`` of the tests."""
    ours = {k for k in subclasses(registry.Optimizer) if k.__module__.startswith("memprop.")}
    assert ours == set(registry.OPTIMIZERS.values())
    assert set(registry.OPTIMIZERS) == set(OPTIMIZERS) == set(FORMULAS)
    assert all(type(OPTIMIZERS[name]) is kind for name, kind in registry.OPTIMIZERS.items())


LARGE = (4469, 11, 3)
"""Widths of which the first weights have three blocks of 16,384 elements and 7 more."""


def by_formula(name, parameters, gradients):
    """What ``parameters`` become by the optimizer's formula, in float64."""
    optimizer = OPTIMIZERS[name]
    constants = {field.name: getattr(optimizer, field.name) for field in fields(optimizer)}
    found = {}
    for parameter, array in parameters.items():
        W = array.astype(np.float64)
        state = [np.zeros_like(W) for _ in optimizer.state]
        for step, each in enumerate(gradients):
            count = [step] if optimizer.counts_steps else []
            dW = each[parameter].astype(np.float64)
            W, *state = FORMULAS[name](W, dW, *state, *count, **constants)
        found[parameter] = W
    return found


def by_pytorch(torch, name, parameters, gradients):
    """What ``parameters`` become by PyTorch's optimizer."""
    tensors = {n: torch.tensor(a, requires_grad=True) for n, a in parameters.items()}
    optimizer = torch_optimizer(torch, name, list(tensors.values()))
    for each in gradients:
        for parameter, tensor in tensors.items():
            tensor.grad = torch.tensor(each[parameter])
        optimizer.step()
    return {n: tensor.detach().numpy() for n, tensor in tensors.items()}


def stepped(name, dtype, update="at_end"):
    """Parameters before and after five steps, and the gradients of a step of each."""
    ours, plain = (mp.MLP(LARGE, dtype=dtype, activation="tanh") for _ in range(2))
    before = {n: array.copy() for n, array in ours.parameters.items()}
    step = mp.Step(ours, 6, optimizer=OPTIMIZERS[name], update=update)
    only = mp.Step(plain, 6)  # its gradients are outputs, whenever ours are applied
    gradients = []
    for seed in range(5):
        for n, array in ours.parameters.items():
            plain.parameters[n][...] = array
        x, y = data(ours, seed=seed)
        only(x, y)
        gradients.append({n: array.copy() for n, array in only.gradients.items()})
        step(x, y)
    return before, gradients, ours.parameters


PRECISION = {"float32": 2e-6, "float64": 1e-13}


@pytest.mark.parametrize("update", ["at_end", "in_backward"])
@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("name", registry.OPTIMIZERS)
def test_every_element_of_a_large_parameter_is_updated_by_the_formula(name, dtype, update):
    assert LARGE[0] * LARGE[1] == 3 * BLOCK_ELEMENTS + 7
    before, gradients, after = stepped(name, dtype, update)
    for parameter, expected in by_formula(name, before, gradients).items():
        np.testing.assert_allclose(
            after[parameter], expected, rtol=PRECISION[dtype], atol=PRECISION[dtype]
        )


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("name", registry.OPTIMIZERS)
def test_every_element_of_a_large_parameter_is_updated_as_by_pytorch(torch, name, dtype):
    before, gradients, after = stepped(name, dtype)
    for parameter, expected in by_pytorch(torch, name, before, gradients).items():
        np.testing.assert_allclose(
            after[parameter], expected, rtol=PRECISION[dtype], atol=PRECISION[dtype]
        )


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
