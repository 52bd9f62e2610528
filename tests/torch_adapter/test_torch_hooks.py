"""What acts in backward is simulated, and leaves nothing changed, whatever happens in it."""

import copy
import random

import asks_for_torch  # noqa: F401
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import memprop.torch as mpt


def optimizer_in_backward(module):
    """PyTorch's tutorial: each parameter is updated, and its gradient dropped, when it is there."""
    optimizers = {p: torch.optim.Adam([p]) for p in module.parameters()}

    def step(parameter):
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in module.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    return optimizers


def layers():
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(64, 64) for _ in range(4)))


def test_an_optimizer_in_a_hook_is_simulated_and_its_gradients_do_not_pile_up():
    x = torch.ones(8, 64)
    module = layers()
    optimizers = optimizer_in_backward(module)
    simulated = mpt.simulate(module, x)
    assert not any(optimizer.state for optimizer in optimizers.values())
    assert all(parameter.grad is None for parameter in module.parameters())
    traced = mpt.trace(module, x)
    assert simulated == traced
    plain = mpt.simulate(layers(), x, optimizer=torch.optim.Adam)
    gradients = 4 * 4 * (64 * 64 + 64)
    assert plain.peak_by_category()["parameter_gradient"] == gradients
    assert traced.peak_by_category()["parameter_gradient"] < gradients / 2
    # A second step finds the state of the first.
    assert mpt.simulate(module, x) == mpt.trace(module, x)


def test_hooks_on_tensors_of_the_forward_pass_act():
    class Hooked(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            h = self.linear(x)
            h.register_hook(lambda gradient: gradient.clone().clamp_(-1, 1) * 2)
            return h.tanh()

    module = Hooked()
    module.linear.weight.register_hook(lambda gradient: gradient * 0.5)
    assert mpt.simulate(module, torch.ones(4, 8)) == mpt.trace(module, torch.ones(4, 8))


class Everything(nn.Module):
    """Touches all that it can reach."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("average", torch.zeros(4))
        self.history = []
        self.seen = {"ids": set(), "last": None}
        self.count = 0
        self.fails = False

    def forward(self, x):
        self.count += 1
        self.calls += 1
        h = self.norm(self.linear(x))
        self.average.lerp_(h.detach().mean(0), 0.1)
        self.average = self.average * 2
        self.history.append(h)
        self.seen["ids"].add(len(self.history))
        self.seen["last"] = h
        self.last = h
        self.linear.weight.grad = torch.ones_like(self.linear.weight)
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(2)
        if self.fails:
            raise KeyError("boom")
        return h.sin()


def everything_of(module):
    tensors = {name: (id(t), t.detach().clone()) for name, t in module.state_dict().items()}
    versions = [p._version for p in module.parameters()]
    state = (module.count, list(module.history), copy.copy(module.seen), set(module.seen["ids"]))
    generators = (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    grads = [parameter.grad for parameter in module.parameters()]
    return tensors, versions, state, generators, torch.get_rng_state().tolist(), grads


@pytest.mark.parametrize("fails", [False, True])
def test_a_simulation_leaves_nothing_changed(fails):
    module = Everything()
    optimizer = torch.optim.AdamW(module.parameters())
    module.fails = fails
    before = everything_of(module)
    names = set(vars(module))
    if fails:
        with pytest.raises(KeyError, match="boom"):
            mpt.simulate(module, torch.ones(3, 4), optimizer=optimizer)
    else:
        mpt.simulate(module, torch.ones(3, 4), optimizer=optimizer, warmup=2)
    after = everything_of(module)
    assert before[1:] == after[1:]
    for name, (_, tensor) in before[0].items():
        assert torch.equal(tensor, after[0][name][1]), name
    assert set(vars(module)) == names
    assert not optimizer.state
    assert type(module.linear.weight) is nn.Parameter
    if not fails:
        assert mpt.simulate(module, torch.ones(3, 4)) == mpt.trace(module, torch.ones(3, 4))


def test_the_step_of_a_generator_leaves_the_discriminator_as_it_was():
    generator, critic, one = nn.Linear(4, 4), nn.Linear(4, 1), torch.ones(2, 1)

    def loss(fake):
        return functional.binary_cross_entropy_with_logits(critic(fake), one)

    simulated = mpt.simulate(generator, torch.ones(2, 4), loss=loss)
    assert all(parameter.grad is None for parameter in critic.parameters())
    assert simulated == mpt.trace(generator, torch.ones(2, 4), loss=loss)
    critic.zero_grad()
    critic(torch.ones(2, 4)).sum().backward()
    kept = [parameter.grad for parameter in critic.parameters()]
    mpt.simulate(generator, torch.ones(2, 4), loss=loss)
    assert [parameter.grad for parameter in critic.parameters()] == kept
    assert all(type(gradient) is torch.Tensor for gradient in kept)


def test_a_graph_from_before_the_step_is_refused():
    features = nn.Linear(4, 4)(torch.ones(2, 4))
    with pytest.raises(Exception, match=r"computed before it .*detach it"):
        mpt.simulate(nn.Linear(4, 4), torch.ones(2, 4), loss=lambda y: (y * features).sum())
    assert mpt.trace(
        nn.Linear(4, 4), torch.ones(2, 4), loss=lambda y: (y * features.detach()).sum()
    ).peak
