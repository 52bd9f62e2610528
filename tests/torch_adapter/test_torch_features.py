"""What makes the memory of a step hard to follow, each by its own arithmetic."""

import itertools

import asks_for_torch  # noqa: F401
import pytest
import torch
import torch_oracles as oracles
import torch_zoo as zoo
from torch import nn

import memprop as mp
import memprop.torch as mpt

BOTH = pytest.mark.parametrize("run", [mpt.trace, mpt.simulate], ids=["trace", "simulate"])
NUMBER = 4
"""Bytes of a float32."""


def numbers(module):
    """How many numbers a module has to learn, each once."""
    return sum(parameter.numel() for parameter in module.parameters())


def at_setup(trace, category):
    """Bytes of a category before the first operator runs."""
    table = trace.timeline()
    return int(table[category][table["phase"] == "setup"].iloc[-1])


@BOTH
def test_the_peak_of_inference_is_parameters_and_two_neighbouring_layers(run):
    batch, widths = 32, [16, 64, 128, 8]
    layers = [nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(widths)]
    module = nn.Sequential(*layers)
    trace = run(module, torch.zeros(batch, widths[0]), mode="inference")
    values = numbers(module) + batch * (widths[0] + widths[1] + widths[2])  # x is the caller's
    assert trace.peak == NUMBER * values
    assert {trace.phases[phase] for phase in set(trace.events.phase.tolist())} <= {
        "setup",
        "forward",
        "end",
    }


@BOTH
def test_the_peak_of_training_by_hand(run):
    batch, n, m = 64, 8, 32
    module = nn.Sequential(nn.Linear(n, m, bias=False), nn.ReLU(), nn.Linear(m, 1, bias=False))
    trace = run(module, torch.zeros(batch, n), loss=torch.mean)
    # In backward of relu: x, relu's result, its gradient and the gradient of z beside it; of the
    # scalars loss, the seed lives on; the output and the gradient of the last weight are there.
    values = batch * (n + m + m + m + 1) + numbers(module) + m + 2
    assert trace.peak == NUMBER * values
    assert trace.peak_operator == "1/ReluBackward0"


@BOTH
def test_tied_weights_count_once(run):
    module, inputs = zoo.build("tied")
    trace = run(module, inputs)
    assert at_setup(trace, "parameter") == NUMBER * numbers(module)
    gradients = {v.name for v in trace.variables if v.category == "parameter_gradient"}
    assert gradients == {f"{name}.grad" for name, _ in module.named_parameters()}


@BOTH
def test_a_view_takes_no_memory(run):
    class Reshaped(nn.Module):
        def forward(self, x):
            return x.view(-1).view(x.shape[1], -1).t()[1:].unsqueeze(0).expand(5, -1, -1)

    trace = run(Reshaped(), torch.zeros(6, 4), mode="inference")
    assert trace.peak == 6 * 4 * NUMBER
    assert not trace.operators


@BOTH
def test_an_operator_in_place_saves_a_buffer(run):
    def beyond_the_given(inplace):
        module = nn.Sequential(nn.Linear(16, 512), nn.ReLU(inplace=inplace), nn.Linear(512, 1))
        trace = run(module, torch.zeros(128, 16), mode="inference")
        return trace.peak - NUMBER * (numbers(module) + 128 * 16)

    assert beyond_the_given(inplace=False) == 2 * 128 * 512 * NUMBER
    assert beyond_the_given(inplace=True) == (128 * 512 + 128) * NUMBER  # at the last layer


@BOTH
def test_gradients_that_are_there_already_are_counted_and_added_to(run):
    module, inputs = zoo.build("mlp")
    first = run(module, inputs)
    oracles.step(module, inputs)
    second = run(module, inputs)
    assert at_setup(first, "parameter_gradient") == 0
    assert at_setup(second, "parameter_gradient") == NUMBER * numbers(module)
    made = [v for v in second.variables if v.category == "parameter_gradient"]
    assert len(made) == len(list(module.parameters()))


@BOTH
def test_accumulation_runs_forward_and_backward_as_often_as_asked(run):
    module, inputs = zoo.build("mlp")
    trace = run(module, inputs, micro_batches=3, optimizer=torch.optim.SGD)
    names = [operator.name.partition("#")[0] for operator in trace.operators]
    assert names.count("0/addmm") == names.count("0/AddmmBackward0") == 3
    assert trace.operators[-1].phase == "update"
    gradients = [v for v in trace.variables if v.category == "parameter_gradient"]
    assert len(gradients) == 4


def test_accumulated_gradients_are_those_of_so_many_backward_passes():
    module, inputs = zoo.build("mlp")
    trace = mpt.trace(module, inputs, micro_batches=3)
    assert mpt.simulate(zoo.build("mlp")[0], inputs, micro_batches=3) == trace
    again, inputs = zoo.build("mlp")
    for _ in range(3):
        oracles.step(again, inputs)
    for name, parameter in again.named_parameters():
        assert torch.equal(trace.outputs["gradients"][name], parameter.grad)


@BOTH
def test_nothing_is_saved_for_what_is_frozen(run):
    module, inputs = zoo.build("frozen")
    trace = run(module, inputs, optimizer=torch.optim.Adam)
    assert not any(kept.site.startswith("0.0") for kept in trace.saved)
    assert not any(v.name.startswith("0.") and ".grad" in v.name for v in trace.variables)
    assert all(kept.category == "activation" for kept in trace.saved)  # the input is not kept


@BOTH
def test_nothing_is_saved_of_what_runs_under_no_grad(run):
    module, inputs = zoo.build("without_gradient")
    sites = {kept.site for kept in run(module, inputs).saved}
    assert "teacher" not in sites


@BOTH
def test_the_state_of_adam_is_two_numbers_a_parameter_and_a_counter_each(run):
    module, inputs = zoo.build("mlp")
    trace = run(module, inputs, optimizer=torch.optim.Adam, warmup=1)
    expected = NUMBER * (2 * numbers(module) + len(list(module.parameters())))
    assert at_setup(trace, "optimizer_state") == expected
    assert trace.timeline()["optimizer_state"].iloc[-1] == expected
    module, inputs = zoo.build("mlp")
    first = run(module, inputs, optimizer=torch.optim.Adam)
    assert at_setup(first, "optimizer_state") == 0
    assert first.timeline()["optimizer_state"].iloc[-1] == expected


@BOTH
def test_autocast_keeps_half_of_what_linear_layers_save(run):
    layers = [nn.Linear(64, 64, bias=False) for _ in range(4)]
    module, x = nn.Sequential(*layers), torch.zeros(32, 64)
    whole = run(module, x).saved_bytes
    half = run(module, x, autocast=torch.bfloat16)
    # Four inputs, now of 16 bits; and the weights of 16 bits for all layers but the first.
    assert whole == 4 * 32 * 64 * NUMBER
    assert half.saved_bytes == (4 * 32 * 64 + 3 * 64 * 64) * 2


@BOTH
def test_batch_norm_keeps_its_input_and_a_mean_and_deviation_a_channel(run):
    module = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
    trace = run(module, torch.zeros(4, 3, 10, 10))
    kept = {one.variable: one.bytes for one in trace.saved if one.variable.startswith(("0", "1"))}
    assert sorted(kept.values()) == [8 * NUMBER, 8 * NUMBER, 4 * 8 * 8 * 8 * NUMBER]
    buffers = {v.name for v in trace.variables if v.name.endswith("(buffer)")}
    assert buffers == {f"1.{name} (buffer)" for name in dict(module[1].named_buffers())}


@BOTH
def test_the_peak_is_the_sum_of_its_categories(run):
    for name in ("mlp", "checkpoints", "in_place", "tied"):
        trace = run(*zoo.build(name), optimizer=torch.optim.AdamW)
        assert sum(trace.peak_by_category().values()) == trace.peak


@BOTH
def test_nothing_of_a_step_outlives_it_but_gradients_state_and_output(run):
    module, inputs = zoo.build("checkpoints")
    trace = run(module, inputs, optimizer=torch.optim.AdamW)
    left = {name: int(trace.timeline()[name].iloc[-1]) for name in ("activation", "workspace")}
    assert left["workspace"] == 0
    assert left["activation"] <= NUMBER  # the loss, which is handed to the caller


def test_the_old_name_of_micro_batches_works_and_warns():
    module, inputs = nn.Linear(3, 2), torch.ones(4, 3)
    with pytest.warns(DeprecationWarning, match="accumulate= is called micro_batches= now"):
        old = mpt.simulate(module, inputs, accumulate=2)
    assert old == mpt.simulate(module, inputs, micro_batches=2)
    with pytest.raises(mp.MempropError, match="one of them, not both"):
        mpt.simulate(module, inputs, accumulate=2, micro_batches=2)
