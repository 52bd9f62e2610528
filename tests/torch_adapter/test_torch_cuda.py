"""The peak on a GPU against what CUDA's allocator says."""

import asks_for_torch  # noqa: F401
import pytest
import torch
import torch_oracles as oracles
from torch import nn

import memprop.torch as mpt

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def transformer():
    torch.manual_seed(0)
    layers = nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True, dropout=0.1)
    module = nn.TransformerEncoder(layers, 6, enable_nested_tensor=False)
    return module.cuda(), torch.randn(16, 256, 512, device="cuda")


def mlp():
    torch.manual_seed(0)
    layers = [layer for _ in range(8) for layer in (nn.Linear(2048, 2048), nn.ReLU())]
    return nn.Sequential(*layers).cuda(), torch.randn(4096, 2048, device="cuda")


@pytest.mark.parametrize("build", [mlp, transformer])
@pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=["float32", "bfloat16"])
def test_the_peak_on_a_gpu_is_that_of_its_allocator_within_two_percent(build, autocast):
    module, x = build()
    simulated = mpt.simulate(module, x, optimizer=torch.optim.AdamW, autocast=autocast).peak
    optimizer = torch.optim.AdamW(module.parameters())
    with torch.autocast("cuda", dtype=autocast, enabled=autocast is not None):
        module(x)  # workspaces of cuBLAS, which are there once and for all
    torch.cuda.synchronize()
    given = oracles.given_bytes(module, x)
    before = torch.cuda.memory_allocated() - given
    torch.cuda.reset_peak_memory_stats()
    with torch.autocast("cuda", dtype=autocast, enabled=autocast is not None):
        output = module(x)
        loss = oracles.scalar(output)
    loss.backward()
    optimizer.step()
    peak = torch.cuda.max_memory_allocated() - before
    assert simulated == pytest.approx(peak, rel=0.02)
