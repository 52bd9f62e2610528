"""A simulation changes nothing; a traced step changes what a step changes, bit for bit."""

import asks_for_torch  # noqa: F401
import pytest
import torch
import torch_oracles as oracles
import torch_zoo as zoo
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import _get_current_dispatch_mode

import memprop.torch as mpt


def snapshot(module, optimizer):
    """Bits of all that a step could change, each tensor with its identity."""
    state = [value for parts in optimizer.state.values() for value in parts.values()]
    tensors = [*module.parameters(), *module.buffers(), *state]
    tensors += [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    found = [(id(tensor), tensor.detach().clone()) for tensor in tensors]
    return [*found, (0, torch.get_rng_state())]


def same(before, after):
    identical = [one for one, _ in before] == [one for one, _ in after]
    return identical and all(
        torch.equal(a, b) for (_, a), (_, b) in zip(before, after, strict=True)
    )


def stepped(name, *, traced, **options):
    """A module of the zoo and its optimizer after one step."""
    module, inputs = zoo.build(name)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    torch.manual_seed(1)
    if traced:
        mpt.trace(module, inputs, optimizer=optimizer, **options)
    else:
        oracles.step(module, inputs, optimizer, **options)
    return module, optimizer


@pytest.mark.parametrize("name", zoo.SIMULATED)
def test_a_simulation_leaves_everything_as_it_was(name):
    module, inputs = zoo.build(name)
    optimizer = torch.optim.AdamW(module.parameters())
    oracles.step(module, inputs, optimizer)
    before = snapshot(module, optimizer)
    mpt.simulate(module, inputs, optimizer=optimizer)
    mpt.simulate(module, inputs, optimizer=optimizer, warmup=1, autocast=torch.bfloat16)
    assert same(before, snapshot(module, optimizer))


@pytest.mark.parametrize("name", sorted(zoo.ZOO.keys() - {"sparse"}))
def test_a_traced_step_ends_with_the_same_bits_as_one_that_nobody_watched(name):
    watched, first = stepped(name, traced=True)
    alone, second = stepped(name, traced=False)
    pairs = zip(snapshot(watched, first), snapshot(alone, second), strict=True)
    assert all(torch.equal(a, b) for (_, a), (_, b) in pairs)


def test_a_traced_step_under_autocast_ends_with_the_same_bits():
    watched, first = stepped("encoder_layer", traced=True, autocast=torch.bfloat16)
    alone, second = stepped("encoder_layer", traced=False, autocast=torch.bfloat16)
    pairs = zip(snapshot(watched, first), snapshot(alone, second), strict=True)
    assert all(torch.equal(a, b) for (_, a), (_, b) in pairs)


def test_the_outputs_are_the_loss_and_the_gradients():
    module, inputs = zoo.build("mlp")
    trace = mpt.trace(module, inputs)
    again, inputs = zoo.build("mlp")
    _, loss = oracles.step(again, inputs)
    assert torch.equal(trace.outputs["loss"], loss.detach())
    assert set(trace.outputs["gradients"]) == {name for name, _ in again.named_parameters()}
    for name, parameter in again.named_parameters():
        assert torch.equal(trace.outputs["gradients"][name], parameter.grad)
    assert mpt.simulate(again, inputs).outputs is None


def test_inference_gives_the_prediction_and_no_gradients():
    module, inputs = zoo.build("mlp")
    trace = mpt.trace(module, inputs, mode="inference")
    assert torch.equal(trace.outputs["prediction"], module(inputs).detach())
    assert all(parameter.grad is None for parameter in module.parameters())


class Explodes(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x):
        self.linear(x)
        raise KeyError("boom")


class ExplodesInBackward(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x):
        y = self.linear(x)
        y.register_hook(self.boom)
        return y

    def boom(self, gradient):
        raise KeyError("boom")


def nothing_is_left_behind(module):
    assert _get_current_dispatch_mode() is None
    assert not torch_module._global_forward_hooks
    assert not torch_module._global_forward_pre_hooks
    for parameter in module.parameters():
        assert type(parameter) is torch.nn.Parameter
        assert not parameter._post_accumulate_grad_hooks


@pytest.mark.parametrize("run", [mpt.trace, mpt.simulate], ids=["trace", "simulate"])
@pytest.mark.parametrize("kind", [Explodes, ExplodesInBackward])
def test_a_step_that_breaks_off_keeps_its_exception_and_the_trace_so_far(run, kind):
    module = kind()
    bits = module.linear.weight.detach().clone()
    with pytest.raises(KeyError, match="boom") as caught:
        run(module, torch.randn(2, 4))
    trace = caught.value.trace
    assert "linear/addmm" in {operator.name for operator in trace.operators}
    assert any("memprop: the step broke off" in note for note in caught.value.__notes__)
    nothing_is_left_behind(module)
    assert torch.equal(module.linear.weight, bits)
    assert run(module.linear, torch.randn(2, 4)).peak > 0


def test_a_step_that_succeeds_leaves_nothing_behind_either():
    module, inputs = zoo.build("checkpoints")
    mpt.trace(module, inputs)
    nothing_is_left_behind(module)
    mpt.simulate(module, inputs)
    nothing_is_left_behind(module)


LAZY = [torch.nn.LazyLinear(4)]
"""A module that has not run yet, which is no part of the step."""


@pytest.mark.parametrize("options", [{}, {"device": "cuda"}], ids=["cpu", "cuda"])
def test_a_parameter_without_a_shape_may_be_near_a_step(options):
    class Near(torch.nn.Linear):
        def forward(self, x):
            assert len(LAZY) == 1
            return super().forward(x)

    module, x = Near(4, 4), torch.randn(2, 4)
    step = mpt.simulate(module, x, loss=lambda output: output.sum() + len(LAZY), **options)
    assert step.peak > 0
    assert mpt.auto_checkpoint(module, x, "1 GiB", **options).plan.peak > 0
    assert torch.nn.parameter.is_lazy(LAZY[0].weight)
