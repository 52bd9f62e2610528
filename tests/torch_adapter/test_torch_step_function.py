"""mpt.trace_step and mpt.simulate_step: a function that does a whole step."""

import re

import asks_for_torch  # noqa: F401
import pytest
import torch
import training_loops as loops
from torch import nn

import memprop.torch as mpt
from memprop.errors import InvalidTypeError, InvalidValueError

NEEDS_NUMBERS = ("lbfgs",)
"""Loops whose course depends on numbers: a line search looks at the loss."""


def parts(step):
    return [p for module in step.modules for p in module.parameters()]


@pytest.mark.parametrize("name", [name for name in loops.LOOPS if name not in NEEDS_NUMBERS])
def test_the_simulated_step_is_the_real_one_and_leaves_no_trace(name):
    step = loops.build(name)
    before = [parameter.clone() for parameter in parts(step)]
    random = torch.get_rng_state()
    simulated = mpt.simulate_step(step)
    assert all(map(torch.equal, before, parts(step)))
    assert all(parameter.grad is None for parameter in parts(step))
    assert torch.equal(random, torch.get_rng_state())
    step()
    assert simulated == mpt.trace_step(step)


@pytest.mark.parametrize("name", NEEDS_NUMBERS)
def test_a_step_that_depends_on_numbers_says_where(name):
    step = loops.build(name)
    before = [parameter.clone() for parameter in parts(step)]
    with pytest.raises(InvalidValueError, match=r"depends on the numbers .*training_loops.py:\d+"):
        mpt.simulate_step(step)
    assert all(map(torch.equal, before, parts(step)))
    step()
    assert mpt.trace_step(step).peak > 0


def gan_step(G, D, og, od, batch, *, history):
    fake = G(torch.randn(len(batch), 4))
    (D(batch).mean() - D(fake.detach()).mean()).backward()
    od.step()
    od.zero_grad()
    loss = D(fake).mean()
    loss.backward()
    og.step()
    og.zero_grad()
    history.append(loss.detach())
    return loss.detach()


def gan_parts():
    torch.manual_seed(0)
    G, D = loops.mlp(4, 8, 6), loops.mlp(6, 8, 1)
    og, od = torch.optim.Adam(G.parameters()), torch.optim.Adam(D.parameters())
    return G, D, og, od, torch.randn(16, 6)


def test_arguments_are_there_before_the_step_and_have_the_names_of_the_parameters():
    given, history = gan_parts(), []
    trace = mpt.trace_step(gan_step, *given, history=history)
    setup = {v.name for v in trace.variables} & {"batch", "G.0.weight", "D.2.bias"}
    assert setup == {"batch", "G.0.weight", "D.2.bias"}
    assert {"update od", "update og"} <= set(trace.timeline()["phase"])
    assert trace.about["model"] == "G, D"
    assert trace.about["optimizer"] == "Adam"
    assert torch.equal(trace.outputs["result"], history[0])


def test_state_is_there_after_a_warm_up_and_not_before():
    cold = mpt.simulate_step(gan_step, *gan_parts(), warmup=0, history=[])
    warm = mpt.simulate_step(gan_step, *gan_parts(), history=[])
    parameters = sum(p.numel() for module in gan_parts()[:2] for p in module.parameters())
    given = [trace.persistent_bytes for trace in (cold, warm)]
    steps = 4 * len([p for module in gan_parts()[:2] for p in module.parameters()])
    assert given[1] - given[0] == 2 * 4 * parameters + steps


def test_containers_among_the_arguments_are_as_they_were():
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batch = {"x": torch.ones(3, 4), "more": [torch.zeros(3, 2)]}
    seen = []

    def step(models, optimizer, batch):
        seen.append(type(batch["more"][0]).__name__)
        loss = (models["only"](batch["x"]) - batch["more"][0]).square().mean()
        loss.backward()
        batch["x"] += 1
        batch["more"].append(loss)
        optimizer.step()

    trace = mpt.simulate_step(step, {"only": model}, optimizer, batch)
    assert torch.equal(batch["x"], torch.ones(3, 4))
    assert [type(one) for one in batch["more"]] == [torch.Tensor]
    assert not optimizer.state
    assert "models['only'].weight" in {v.name for v in trace.variables}
    assert not seen


def test_everything_is_as_it_was_after_a_failure():
    model = nn.Linear(4, 2)
    optimizer = torch.optim.Adam(model.parameters())

    def step(x):
        model(x).sum().backward()
        optimizer.step()
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken") as caught:
        mpt.simulate_step(step, torch.ones(3, 4), warmup=0)
    assert caught.value.trace.peak > 0
    assert model.weight.grad is None
    assert not optimizer.state
    assert not model.weight._post_accumulate_grad_hooks


@pytest.mark.parametrize("call", [mpt.trace_step, mpt.simulate_step])
def test_what_is_no_function_is_refused(call):
    with pytest.raises(InvalidTypeError, match="fn must be a function that does one step, got 3"):
        call(3)


def test_a_warm_up_is_a_number():
    with pytest.raises(InvalidValueError, match=re.escape("warmup")):
        mpt.simulate_step(lambda: None, warmup=-1)


def scaled_step(model, optimizer, x, scalers):
    if not scalers:
        scalers.append(torch.amp.GradScaler("cuda"))
    (scaler,) = scalers
    with torch.autocast("cuda", dtype=torch.float16):
        loss = model(x).square().mean()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()


def test_a_scaler_and_clipping_on_a_gpu_that_is_not_there():
    model = nn.Linear(64, 64)
    optimizer = torch.optim.AdamW(model.parameters())
    trace = mpt.simulate_step(
        scaled_step, model, optimizer, torch.randn(32, 64), [], device="cuda", gpu="h100"
    )
    operators = {operator.name for operator in trace.operators}
    assert "optimizer/_amp_foreach_non_finite_check_and_unscale_" in operators
    assert trace.about.get("unknown_kernels") is None
    assert trace.device == "cuda:0"
    # cuda/ForeachReduceOp.cu: a partial norm for each chunk of 65,536 elements of two tensors.
    norms = [v.bytes for v in trace.variables if v.name == "optimizer/_foreach_norm (scratch)"]
    assert norms == [2 * 4]
