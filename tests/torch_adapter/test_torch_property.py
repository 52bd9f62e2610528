"""Random small networks: predicted is traced, and what is saved is what autograd's hooks see."""

import asks_for_torch  # noqa: F401
import torch
import torch_oracles as oracles
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import memprop.torch as mpt

ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "leaky": nn.LeakyReLU,
    "softplus": nn.Softplus,
}
IN_PLACE = {"relu", "silu", "elu", "leaky"}
CHOICES = st.fixed_dictionaries(
    {
        "width": st.integers(1, 40),
        "bias": st.booleans(),
        "activation": st.sampled_from(sorted(ACTIVATIONS)),
        "in_place": st.booleans(),
        "dropout": st.sampled_from([0.0, 0.3]),
        "norm": st.booleans(),
        "frozen": st.booleans(),
    }
)


def block(before, choice):
    """A linear layer and what follows it; reading from width ``before``."""
    linear = nn.Linear(before, choice["width"], bias=choice["bias"])
    linear.requires_grad_(not choice["frozen"])
    yield linear
    if choice["norm"]:
        yield nn.LayerNorm(choice["width"])
    name = choice["activation"]
    if choice["in_place"] and name in IN_PLACE:
        yield ACTIVATIONS[name](inplace=True)
    else:
        yield ACTIVATIONS[name]()
    if choice["dropout"]:
        yield nn.Dropout(choice["dropout"])


def network(choices):
    torch.manual_seed(0)
    widths = [8, *(choice["width"] for choice in choices)]
    layers = [layer for pair in zip(widths, choices, strict=False) for layer in block(*pair)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 3))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    choices=st.lists(CHOICES, min_size=1, max_size=4),
    batch=st.integers(1, 9),
    optimizer=st.sampled_from([None, torch.optim.SGD, torch.optim.Adam]),
)
def test_any_small_network_is_predicted_and_saves_what_the_hooks_see(choices, batch, optimizer):
    x = torch.ones(batch, 8)
    expected = oracles.hooked_bytes(network(choices), x)
    module = network(choices)
    simulated = mpt.simulate(module, x, optimizer=optimizer)
    traced = mpt.trace(module, x, optimizer=optimizer)
    assert simulated == traced
    assert oracles.saved_bytes(traced) == expected
