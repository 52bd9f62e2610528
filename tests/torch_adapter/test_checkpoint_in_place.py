"""Every module of PyTorch's that can work in place, in planned steps: same bits, within budget."""

import copy
import inspect

import asks_for_torch  # noqa: F401
import pytest
import torch
from torch import nn

import memprop.torch as mpt


def in_place_modules():
    """The modules of torch.nn that have a switch for it."""
    for name, kind in sorted(vars(nn).items()):
        if isinstance(kind, type) and issubclass(kind, nn.Module) and kind is not nn.Module:
            known = inspect.signature(kind.__init__).parameters
            if "inplace" in known:
                yield name


NEEDED = {"Threshold": {"threshold": 0.1, "value": 0.0}}
"""What else some must be given."""


def dimensions_of(name):
    """Dropout1d, for example, is for samples of one dimension."""
    return int(name[-2]) if name.endswith("d") and name[-2].isdigit() else 2


class Squeeze(nn.Module):
    """Two layers with such a module between, and a gate, as EfficientNet has it."""

    def __init__(self, name):
        super().__init__()
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions_of(name) - 1]
        self.first, self.second = convolution(4, 8, 1), convolution(8, 4, 1)
        self.between = getattr(nn, name)(inplace=True, **NEEDED.get(name, {}))

    def forward(self, x):
        return x * torch.sigmoid(self.second(self.between(self.first(x))))


def numbers(module, x):
    torch.manual_seed(1)
    module(x).square().sum().backward()
    found = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    return found


@pytest.mark.parametrize("name", list(in_place_modules()))
def test_what_is_written_over_is_not_read_again(name):
    torch.manual_seed(0)
    x = torch.randn(2, 4, *[6] * dimensions_of(name))
    module = nn.Sequential(*[Squeeze(name) for _ in range(3)])
    expected = numbers(copy.deepcopy(module), x)
    plans = list(mpt.frontier(module, x)["plan"])
    assert len(plans) > 3
    for plan in plans[:: max(len(plans) // 3, 1)]:
        planned = plan.apply(module)
        assert all(map(torch.equal, numbers(planned, x), expected))
        traced = mpt.trace(planned, x).peak
        module.zero_grad()
        assert traced == plan.peak


def test_they_are_all_there():
    assert {"ReLU", "SiLU", "Hardswish", "Dropout"} <= set(in_place_modules())
