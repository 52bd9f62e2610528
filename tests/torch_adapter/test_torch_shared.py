"""Results of one operator that share a storage count once, as the gradients of cuDNN's LSTM do."""

import asks_for_torch  # noqa: F401
import pytest
import torch
from torch import nn

import memprop.torch as mpt

NUMBER = 4
"""Bytes of a float32."""
BOTH = pytest.mark.parametrize("run", [mpt.trace, mpt.simulate], ids=["trace", "simulate"])


LIBRARY = torch.library.Library("memprop_tests", "FRAGMENT")
LIBRARY.define("flat_gradients(Tensor a, Tensor b) -> (Tensor, Tensor)")


def flat_gradients(a, b):
    """Gradients of two weights as views of one flat buffer."""
    flat = a.new_ones(a.numel() + b.numel())
    return flat[: a.numel()].view(a.shape), flat[a.numel() :].view(b.shape)


LIBRARY.impl("flat_gradients", flat_gradients, "CPU")
LIBRARY.impl("flat_gradients", flat_gradients, "Meta")


class Flat(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, a, b):
        ctx.save_for_backward(a, b)
        return x @ a + x @ b

    @staticmethod
    def backward(ctx, gradient):
        return (None, *torch.ops.memprop_tests.flat_gradients(*ctx.saved_tensors))


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(16, 16)), nn.Parameter(torch.ones(16, 16))

    def forward(self, x):
        return Flat.apply(x, self.a, self.b)


@BOTH
def test_gradients_that_are_views_of_one_buffer_count_once(run):
    trace = run(Module(), torch.ones(2, 16))
    weights, samples, scalars = 2 * 16 * 16, 2 * 16, 2  # the loss and the seed
    assert trace.peak == NUMBER * (2 * weights + 2 * samples + scalars)
    assert trace.timeline()["parameter_gradient"].iloc[-1] == NUMBER * 2 * 16 * 16
    made = [v for v in trace.variables if v.category == "parameter_gradient"]
    assert [variable.bytes for variable in made] == [NUMBER * 2 * 16 * 16]
