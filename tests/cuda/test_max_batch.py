"""The largest batch that fits, against brute force and against an H100 held to a limit."""

import json

import asks_for_torch  # noqa: F401
import pytest
import torch
from h100_models import STEPS
from hypothesis import given
from hypothesis import strategies as st
from recorded import H100
from torch import nn

import memprop.torch as mpt
from memprop.torch.fitting.job import Tried
from memprop.torch.fitting.largest import largest

LINEAR = {"loss": lambda output: output.sum(), "optimizer": torch.optim.SGD}


def make(batch):
    return nn.Linear(32, 64), torch.ones(batch, 32)


@pytest.mark.parametrize("budget", [30_000, 100_000, 123_456])
def test_one_sample_more_would_not_fit_on_the_cpu(budget):
    found = mpt.max_batch(make, budget, device="cpu", **LINEAR)

    def peak(batch):
        module, inputs = make(batch)
        return mpt.simulate(module, inputs, warmup=2, **LINEAR).peak

    assert peak(found) <= budget < peak(found + 1)


def test_a_budget_that_not_even_one_sample_fits_into_allows_none():
    assert mpt.max_batch(make, 1000, device="cpu", **LINEAR) == 0
    assert mpt.max_batch(make, "1 MiB", **LINEAR) == 0, "a segment of the allocator is larger"


@given(
    st.integers(0, 10**9),
    st.integers(1, 10**7),
    st.integers(1, 10**11),
    st.floats(0.9, 1.0),
)
def test_ten_trials_find_it_whatever_each_sample_needs(fixed, each, limit, usable):
    tried = []

    def one(batch):
        peak = fixed + each * batch
        tried.append(batch)
        return Tried(batch, peak <= usable * limit, peak)

    found = largest(one, limit)
    truth = max(0, int((usable * limit - fixed) // each))
    assert len(tried) <= 10
    assert found <= truth
    assert found >= truth - max(2, truth // 50)


@pytest.mark.parametrize("name", ["mlp", "encoder"])
def test_the_largest_batch_is_that_of_an_h100_held_to_4_gib(name):
    recorded = json.loads((H100 / f"limit-{name}.json").read_text())
    with torch.device("meta"):  # without memory
        step = STEPS[{"mlp": "mlp_adamw", "encoder": "encoder_bf16"}[name]]()

    def of(batch):
        inputs = step.inputs.new_empty(batch, *step.inputs.shape[1:])
        return step.module, inputs, step.target.new_empty(batch)

    options = {"loss": step.loss, "optimizer": step.optimizer, "autocast": step.autocast}
    found = mpt.max_batch(of, f"{recorded['limit_gib']} GiB", **options)
    assert found == pytest.approx(recorded["largest"], rel=0.01, abs=1)


@pytest.mark.parametrize("made", [nn.Linear(2, 2), (nn.Linear(2, 2),), "model"])
def test_what_makes_no_model_and_inputs_is_named(made):
    with pytest.raises(TypeError, match="must return a module and its inputs"):
        mpt.max_batch(lambda batch: made, "1 GiB")
