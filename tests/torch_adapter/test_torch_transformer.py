"""The arithmetic of a transformer layer, known from the literature, found row by row.

Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models", 2022, section
4.1: with 2 bytes a number and 1 byte an element of a dropout mask, a layer saves

    attention    11 s b h + 5 a s^2 b
    MLP          19 s b h
    layer norms   4 s b h

bytes for a sequence of s, a batch of b, a width of h and a heads. What the norms keep of their
statistics the paper neglects: here it is counted, 2 numbers for each of the s b rows and 2 norms.
"""

import asks_for_torch  # noqa: F401
import pytest
import torch
from torch import nn

import memprop.torch as mpt

STATISTICS = 4
"""Numbers that two layer norms keep for each row: a mean and a deviation each."""


class ByteDropout(nn.Module):
    """Dropout as on a GPU: its mask has a byte an element."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        mask = torch.rand(x.shape, device=x.device) >= self.p
        return x * mask / (1 - self.p)


class Layer(nn.Module):
    """A layer of the paper, from inputs of shape ``(s, b, h)``."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.projection = nn.Linear(width, width)
        self.up, self.gelu, self.down = (
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )
        self.drop_scores, self.drop1, self.drop2 = (dropout(0.1) for _ in range(3))

    def split(self, x):
        time, batch, width = x.shape
        return x.view(time, batch * self.heads, width // self.heads).transpose(0, 1)

    def attention(self, x):
        q, k, v = (self.split(linear(x)) for linear in (self.q, self.k, self.v))
        scores = torch.bmm(q, k.transpose(1, 2)) / q.shape[-1] ** 0.5
        weights = self.drop_scores(torch.softmax(scores, -1))
        return torch.bmm(weights, v).transpose(0, 1).reshape(x.shape)

    def forward(self, x):
        x = x + self.drop1(self.projection(self.attention(self.norm1(x))))
        return x + self.drop2(self.down(self.gelu(self.up(self.norm2(x)))))


def layer(size, dropout, dtype=torch.bfloat16):
    s, b, h, a = size
    return Layer(h, a, dropout).to(dtype), torch.zeros(s, b, h, dtype=dtype, requires_grad=True)


def mean(output):
    return output.float().mean()


SIZES = pytest.mark.parametrize("size", [(64, 2, 32, 4), (16, 3, 64, 8), (128, 1, 16, 2)])
BOTH = pytest.mark.parametrize("run", [mpt.trace, mpt.simulate], ids=["trace", "simulate"])


@BOTH
@SIZES
def test_a_layer_saves_what_the_paper_says(run, size):
    s, b, h, a = size
    module, x = layer(size, ByteDropout)
    saved = run(module, x, loss=mean).saved_bytes
    assert saved == 34 * s * b * h + 5 * a * s**2 * b + STATISTICS * s * b * 2


@BOTH
@SIZES
def test_each_term_of_the_paper_is_a_row(run, size):
    s, b, h, a = size
    module, x = layer(size, ByteDropout)
    table = run(module, x, loss=mean).intermediates()
    found = dict(zip(table["variable"], table["bytes"], strict=True))
    n, m = s * b * h, a * s**2 * b
    assert found == {
        "x": 2 * n,  # read by the first norm
        "norm1/native_layer_norm": 2 * n,  # read by Q, K and V
        "norm1/native_layer_norm#2": 2 * s * b,
        "norm1/native_layer_norm#3": 2 * s * b,
        "q/addmm": 2 * n,
        "k/addmm": 2 * n,
        "_softmax": 2 * m,
        "drop_scores/ge": m,
        "drop_scores/div": 2 * m,
        "v/addmm": 2 * n,
        "clone": 2 * n,  # read by the projection
        "drop1/ge": n,
        "add": 2 * n,  # read by the second norm
        "norm2/native_layer_norm": 2 * n,
        "norm2/native_layer_norm#2": 2 * s * b,
        "norm2/native_layer_norm#3": 2 * s * b,
        "up/addmm": 8 * n,
        "gelu/gelu": 8 * n,
        "drop2/ge": n,
    }


@BOTH
@SIZES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_masks_on_the_cpu_are_as_wide_as_the_data(run, size, dtype):
    s, b, h, a = size
    module, x = layer(size, nn.Dropout, dtype)
    numbers = 16 * s * b * h + 2 * a * s**2 * b
    masks = 2 * s * b * h + a * s**2 * b
    saved = run(module, x, loss=mean).saved_bytes
    assert saved == (numbers + masks + STATISTICS * s * b) * dtype.itemsize


def test_flash_attention_saves_no_scores():
    class Flash(Layer):
        def attention(self, x):
            time, batch, width = x.shape
            shape = (time, batch, self.heads, width // self.heads)
            heads = (part(x).view(shape).permute(1, 2, 0, 3) for part in (self.q, self.k, self.v))
            out = nn.functional.scaled_dot_product_attention(*heads)
            return out.permute(2, 0, 1, 3).reshape(x.shape)

    small, large = (
        mpt.simulate(Flash(32, 4, ByteDropout), torch.zeros(s, 2, 32), loss=mean).saved_bytes
        for s in (64, 128)
    )
    assert large == 2 * small
