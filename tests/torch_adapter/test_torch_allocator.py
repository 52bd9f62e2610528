"""The peak of the ledger against the peak of the CPU allocator, as the profiler sees it."""

import asks_for_torch  # noqa: F401
import pytest
import torch
import torch_oracles as oracles
import torch_zoo as zoo
from torch import nn

import memprop.torch as mpt

ADAMW = torch.optim.AdamW
NUMBERS_OF_PYTHON = 12
"""Bytes of a number that an optimizer's operator takes: a float64, and a float32 made of it."""
GENERATOR_STATE = 5056
"""Bytes of the state of PyTorch's generator on the CPU, which a checkpoint keeps for dropout."""


def both_peaks(name, autocast=None):
    module, inputs = zoo.build(name)
    ledger = mpt.trace(module, inputs, optimizer=ADAMW, autocast=autocast).peak
    module, inputs = zoo.build(name)
    return ledger, oracles.allocator_peak(module, inputs, ADAMW(module.parameters()), autocast)


# At their peak, in the update, no kernel has scratch of its own.
@pytest.mark.parametrize(
    "name",
    [
        *("mlp", "in_place", "views", "attention_math", "attention_fused", "sdpa_math"),
        *("sdpa_flash", "encoder_layer", "checkpoints", "nested_checkpoints", "frozen", "twice"),
        *("named", "without_gradient", "norms", "custom"),
    ],
)
def test_the_ledger_is_the_allocator_but_for_two_numbers_of_python(name):
    ledger, allocator = both_peaks(name)
    assert allocator - ledger == NUMBERS_OF_PYTHON


def test_a_reentrant_checkpoint_holds_a_state_of_the_generator_for_each_segment():
    ledger, allocator = both_peaks("reentrant_checkpoints")
    assert torch.get_rng_state().numel() == GENERATOR_STATE
    assert allocator - ledger == NUMBERS_OF_PYTHON + 4 * GENERATOR_STATE


@pytest.mark.parametrize("name", ["tied", "cnn", "lstm"])
@pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=["float32", "bfloat16"])
def test_scratch_of_kernels_is_above_the_ledger(name, autocast):
    zoo.skip_without_lstm_in(autocast, name)
    ledger, allocator = both_peaks(name, autocast)
    assert allocator >= ledger


def test_an_mlp_without_scratch_has_the_peak_of_the_allocator_to_the_byte():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh())
    x = torch.randn(512, 64)
    ledger = mpt.trace(module, x).peak
    for parameter in module.parameters():
        parameter.grad = None
    assert oracles.allocator_peak(module, x) == ledger
