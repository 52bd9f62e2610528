"""One step of a PyTorch module: predicted equals traced."""

import pytest

import memprop as mp


@pytest.fixture(scope="module")
def mpt(torch):
    import memprop.torch

    return memprop.torch


def test_a_simulated_step_equals_the_real_one(torch, mpt):
    module = torch.nn.Sequential(
        torch.nn.Linear(64, 256), torch.nn.Dropout(0.1), torch.nn.ReLU(), torch.nn.Linear(256, 10)
    )
    x, y = torch.randn(32, 64), torch.randint(10, (32,))
    step = {"loss": torch.nn.CrossEntropyLoss(), "target": y, "optimizer": torch.optim.Adam}
    simulated = mpt.simulate(module, x, **step)
    traced = mpt.trace(module, x, **step)
    assert isinstance(traced, mp.Trace)
    assert simulated == traced
