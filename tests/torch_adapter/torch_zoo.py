"""Small modules that do, between them, what makes memory hard to follow. Each with its inputs."""

import asks_for_torch  # noqa: F401
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint


class Tied(nn.Module):
    """The embedding is the last layer too."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.hidden = nn.Linear(8, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(functional.gelu(self.hidden(self.embedding(ids))))


class Views(nn.Module):
    """Chunks, transposes, expands and writes into a part of a tensor."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        heads = [part.reshape(-1, 4, 2).transpose(0, 1) for part in (q, k)]
        scores = (heads[0] * heads[1]).sum(-1)
        copy = x.clone()
        copy[:, :4] = v[:, :4]
        return scores.t().expand(3, -1, -1) * 2 + copy.sum()


class Attention(nn.Module):
    """``torch.nn.MultiheadAttention``, with weights (the math) or without (the fused kernel)."""

    def __init__(self, *, weights):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, dropout=0.1, batch_first=True)
        self.weights = weights

    def forward(self, x):
        return self.attention(x, x, x, need_weights=self.weights)[0]


class ScaledDotProduct(nn.Module):
    def __init__(self, backend):
        super().__init__()
        self.qkv = nn.Linear(16, 48)
        self.backend = backend

    def forward(self, x):
        batch, time, width = x.shape
        q, k, v = self.qkv(x).view(batch, time, 3, 4, 4).permute(2, 0, 3, 1, 4)
        with sdpa_kernel(self.backend):
            out = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return out.transpose(1, 2).reshape(batch, time, width)


class Checkpointed(nn.Module):
    """Four residual blocks, each of which is computed again for backward."""

    def __init__(self, *, reentrant):
        super().__init__()
        self.reentrant = reentrant
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 32), nn.Dropout(0.1), nn.GELU(), nn.Linear(32, 16))
            for _ in range(4)
        )

    def forward(self, x):
        for block in self.blocks:
            x = x + checkpoint(block, x, use_reentrant=self.reentrant)
        return x


class Nested(nn.Module):
    """A checkpoint within a checkpoint."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16))
        self.second = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16))

    def _both(self, x):
        return checkpoint(self.second, self.first(x).sigmoid(), use_reentrant=False)

    def forward(self, x):
        return checkpoint(self._both, x, use_reentrant=False).exp()


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(16, 16)

    def forward(self, x):
        return self.shared(torch.tanh(self.shared(x)))


class Named(nn.Module):
    """Several inputs, by name, and a dictionary as output."""

    def __init__(self):
        super().__init__()
        self.left = nn.Linear(16, 16)
        self.right = nn.Linear(8, 16)

    def forward(self, a, b, scale=None):
        h = self.left(a).sigmoid() * self.right(b).exp()
        return {"h": h * scale, "aux": h.mean()}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 12, num_layers=2, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0])


class WithoutGradient(nn.Module):
    """Part of the forward pass runs under ``torch.no_grad``."""

    def __init__(self):
        super().__init__()
        self.teacher = nn.Linear(16, 16)
        self.student = nn.Linear(16, 16)

    def forward(self, x):
        with torch.no_grad():
            target = self.teacher(x).relu()
        return (self.student(x) - target) ** 2


class Exp(torch.autograd.Function):
    """An operator of a user's own, which keeps its result."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, gradient):
        (y,) = ctx.saved_tensors
        return gradient * y


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def forward(self, x):
        return Exp.apply(self.linear(x))


class ComplexNumbers(nn.Module):
    """Numbers whose conjugate and negative PyTorch puts off until something reads them."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 16, dtype=torch.cfloat) / 8)

    def forward(self, x):
        for _ in range(2):
            y = x @ self.weight
            x = y.conj() * torch.sin(y)
        return x.abs() * y.conj().imag + torch.sin(y.conj().imag)


class Sparse(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 8, sparse=True)
        self.head = nn.Linear(8, 3)

    def forward(self, ids):
        return self.head(self.embedding(ids).mean(1))


def mlp():
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)), torch.randn(6, 16)


def tied():
    return Tied(), torch.randint(11, (4, 5))


def in_place():
    layers = (nn.Linear(16, 32), nn.ReLU(inplace=True), nn.Linear(32, 32), nn.SiLU())
    return nn.Sequential(*layers, nn.Dropout(0.2, inplace=True)), torch.randn(6, 16)


def views():
    return Views(), torch.randn(5, 8)


def cnn():
    layers = (
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
    )
    return nn.Sequential(*layers), torch.randn(4, 3, 16, 16)


def attention_math():
    return Attention(weights=True), torch.randn(2, 6, 16)


def attention_fused():
    return Attention(weights=False).eval(), torch.randn(2, 6, 16)


def sdpa_math():
    return ScaledDotProduct(SDPBackend.MATH), torch.randn(2, 6, 16)


def sdpa_flash():
    return ScaledDotProduct(SDPBackend.FLASH_ATTENTION), torch.randn(2, 6, 16)


def encoder_layer():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, dropout=0.1)
    return layer, torch.randn(2, 6, 16)


def encoder_layer_evaluated():
    module, inputs = encoder_layer()
    return module.eval(), inputs


def half_norms():
    """Samples of 16 bits, parameters of 32: what a norm meets under autocast."""
    module = nn.Sequential(nn.LayerNorm(16), nn.GroupNorm(4, 16), nn.BatchNorm1d(16))
    return module, torch.randn(6, 16, dtype=torch.bfloat16)


def checkpoints():
    return Checkpointed(reentrant=False), torch.randn(6, 16, requires_grad=True)


def reentrant_checkpoints():
    return Checkpointed(reentrant=True), torch.randn(6, 16, requires_grad=True)


def nested_checkpoints():
    return Nested(), torch.randn(6, 16, requires_grad=True)


def frozen():
    first, x = mlp()
    for parameter in first.parameters():
        parameter.requires_grad_(False)
    return nn.Sequential(first, nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4)), x


def twice():
    return Twice(), torch.randn(6, 16)


def named():
    inputs = {"a": torch.randn(6, 16), "b": torch.randn(6, 8), "scale": torch.randn(16)}
    return Named(), inputs


def lstm():
    return Recurrent(), torch.randn(3, 7, 8)


def without_gradient():
    return WithoutGradient(), torch.randn(6, 16)


def norms():
    layers = (nn.LayerNorm(16), nn.Linear(16, 16), nn.GroupNorm(4, 16), nn.LogSoftmax(-1))
    return nn.Sequential(*layers), torch.randn(6, 16)


def custom():
    return Custom(), torch.randn(6, 16)


class Gated(nn.Module):
    """Its gates are parts of one tensor, written over one after the other."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(8, 8)

    def forward(self, x):
        return self.gru(x)[0]


def gru():
    return Gated(), torch.randn(3, 7, 8)


def rrelu():
    """Writes its noise to an operand that it does not return."""
    layers = (nn.Linear(16, 32), nn.RReLU(), nn.Linear(32, 32), nn.RReLU(inplace=True))
    return nn.Sequential(*layers, nn.Linear(32, 8)), torch.randn(6, 16)


def complex_numbers():
    return ComplexNumbers(), torch.randn(6, 16, dtype=torch.cfloat)


def sparse():
    return Sparse(), torch.randint(50, (4, 5))


ZOO = {
    build.__name__: build
    for build in (
        *(mlp, tied, in_place, views, cnn, attention_math, attention_fused, sdpa_math, sdpa_flash),
        *(encoder_layer, encoder_layer_evaluated, half_norms),
        *(checkpoints, reentrant_checkpoints, nested_checkpoints, frozen, twice, named),
        *(lstm, without_gradient, norms, custom, complex_numbers, gru, rrelu, sparse),
    )
}
SIMULATED = {name: build for name, build in ZOO.items() if name != "sparse"}
"""Those that fake tensors can take."""


def build(name):
    """Module and inputs of a name, the same numbers every time."""
    torch.manual_seed(0)
    return ZOO[name]()


def skip_without_lstm_in(dtype, name="lstm"):
    """Skip a test of an LSTM whose numbers have a type for which this CPU has no kernel."""
    if name != "lstm" or dtype in (None, torch.float32):
        return
    try:
        with torch.autocast("cpu", dtype=dtype):
            nn.LSTM(8, 8)(torch.ones(2, 1, 8))
    except RuntimeError:
        pytest.skip(f"oneDNN has no LSTM in {dtype} for this CPU")
