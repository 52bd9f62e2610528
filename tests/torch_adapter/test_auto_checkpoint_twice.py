"""auto_checkpoint: whatever blocks do beside what they return, they do it once."""

import copy
import itertools
import random
import time
from collections import deque

import numpy as np
import pytest

import memprop as mp

WIDTH = 16


@pytest.fixture(scope="module")
def mpt(torch):
    import memprop.torch

    return memprop.torch


def blocks_that(torch, act, prepare=lambda block: None):
    """A Sequential of blocks whose input ``act(block, x)`` changes."""

    class Block(torch.nn.Linear):
        def __init__(self):
            super().__init__(WIDTH, WIDTH)
            prepare(self)

        def forward(self, x):
            return torch.tanh(torch.tanh(super().forward(torch.tanh(act(self, x)))))

    return torch.nn.Sequential(*[Block() for _ in range(4)])


def counter(torch):
    def act(block, x):
        block.calls = getattr(block, "calls", 0) + 1
        return x / block.calls

    return blocks_that(torch, act)


def growing_list(torch):
    def act(block, x):
        block.seen.append(1)
        return x / len(block.seen)

    return blocks_that(torch, act, lambda block: setattr(block, "seen", []))


def nested_tables(torch):
    def act(block, x):
        block.state["of"]["calls"] += 1
        return x / block.state["of"]["calls"]

    return blocks_that(torch, act, lambda block: setattr(block, "state", {"of": {"calls": 0}}))


class Counts:
    """Counts in an attribute."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.calls


class Slotted:
    """Counts in a slot."""

    __slots__ = ("calls",)

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.calls


def an_object(torch):
    return blocks_that(torch, lambda b, x: x / b.count(), lambda b: setattr(b, "count", Counts()))


def an_object_with_slots(torch):
    return blocks_that(torch, lambda b, x: x / b.count(), lambda b: setattr(b, "count", Slotted()))


def a_deque(torch):
    def act(block, x):
        block.last.append(len(block.last) + 1)
        return x / sum(block.last)

    return blocks_that(torch, act, lambda block: setattr(block, "last", deque(maxlen=2)))


def an_array(torch):
    def act(block, x):
        block.scale *= 1.25
        return x * float(block.scale[0])

    return blocks_that(torch, act, lambda block: setattr(block, "scale", np.ones(3)))


def generator_of_torch(torch):
    def act(block, x):
        return x * (torch.rand(x.shape, generator=block.generator) > 0.3)

    def prepare(block):
        block.generator = torch.Generator().manual_seed(3)

    return blocks_that(torch, act, prepare)


def generator_of_numpy(torch):
    def prepare(block):
        block.generator = np.random.default_rng(3)

    return blocks_that(torch, lambda block, x: x * float(block.generator.random()), prepare)


def generator_of_numpy_in_a_closure(torch):
    generator = np.random.default_rng(3)
    return blocks_that(torch, lambda _, x: x * float(generator.random()))


def state_of_numpy(torch):
    def prepare(block):
        block.generator = np.random.RandomState(3)

    return blocks_that(torch, lambda block, x: x * float(block.generator.rand()), prepare)


def generator_of_python(torch):
    def prepare(block):
        block.generator = random.Random(3)

    return blocks_that(torch, lambda block, x: x * block.generator.random(), prepare)


def global_generators(torch):
    return blocks_that(torch, lambda _, x: x * random.random() * float(np.random.rand()))  # noqa: NPY002


def seeded_inside(torch):
    def act(_, x):
        torch.manual_seed(5)
        return torch.nn.functional.dropout(x, 0.3)

    return blocks_that(torch, act)


def buffer_in_place(torch):
    def act(block, x):
        block.count += 1
        return x / block.count.clone()

    return blocks_that(torch, act, lambda b: b.register_buffer("count", torch.ones(())))


def buffer_replaced(torch):
    def act(block, x):
        block.count = block.count + 1
        return x / block.count

    return blocks_that(torch, act, lambda b: b.register_buffer("count", torch.ones(())))


def buffer_through_data(torch):
    def act(block, x):
        block.mean.data.lerp_(x.detach().mean(0), 0.1)
        return x - block.mean.clone()

    return blocks_that(torch, act, lambda b: b.register_buffer("mean", torch.zeros(WIDTH)))


def plain_tensor(torch):
    def act(block, x):
        block.scale.mul_(0.9)
        return x * block.scale.clone()

    return blocks_that(torch, act, lambda block: setattr(block, "scale", torch.ones(WIDTH)))


def _wrapped(torch, make):
    nn = torch.nn
    return nn.Sequential(*[nn.Sequential(*make(), nn.Tanh(), nn.Tanh()) for _ in range(4)])


def spectral_norm_as_hook(torch):
    """Its power iteration writes to buffers before the module runs."""
    norm = torch.nn.utils.spectral_norm
    return _wrapped(torch, lambda: [norm(torch.nn.Linear(WIDTH, WIDTH))])


def spectral_norm_as_parametrization(torch):
    norm = torch.nn.utils.parametrizations.spectral_norm
    return _wrapped(torch, lambda: [norm(torch.nn.Linear(WIDTH, WIDTH))])


def weight_norm(torch):
    norm = torch.nn.utils.parametrizations.weight_norm
    return _wrapped(torch, lambda: [norm(torch.nn.Linear(WIDTH, WIDTH))])


def cumulative_batch_norm(torch):
    nn = torch.nn
    return _wrapped(torch, lambda: [nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH, momentum=None)])


def instance_norm(torch):
    nn = torch.nn
    made = _wrapped(
        torch, lambda: [nn.Linear(WIDTH, WIDTH), nn.InstanceNorm1d(8, track_running_stats=True)]
    )
    return nn.Sequential(nn.Unflatten(0, (8, 8)), *made, nn.Flatten(0, 1))


def pre_hooks(torch):
    module = blocks_that(torch, lambda _, x: x)
    for block in module:
        calls = [0]

        def halved(_, args, calls=calls):
            calls[0] += 1
            return (args[0] / calls[0],)

        block.register_forward_pre_hook(halved)
    return module


def hooks_registered_inside(torch):
    def act(block, x):
        block.register_forward_hook(lambda _, __, result: result * 1.1)
        return x

    return blocks_that(torch, act)


def hooks_of_backward(torch):
    def act(_, x):
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient * 3)
        return x

    module = blocks_that(torch, act)
    module[2].register_full_backward_hook(lambda _, given, __: (given[0] * 2,))
    return module


def autocast_inside(torch):
    def act(block, x):
        with torch.autocast("cpu", torch.bfloat16):
            return torch.nn.functional.linear(x, block.weight).float()

    return blocks_that(torch, act)


def mixture(torch):
    """Blocks that leave a loss of their own, added up when all have run."""

    class Mixture(torch.nn.Module):
        def __init__(self):
            super().__init__()

            def act(block, x):
                block.extra = torch.nn.functional.linear(x, block.weight).square().mean()
                return x

            self.layers = torch.nn.ModuleList(blocks_that(torch, act))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x + sum(layer.extra for layer in self.layers)

    return Mixture()


def growing_cache(torch):
    """A cache among the arguments."""

    class Cached(torch.nn.Linear):
        def forward(self, x, cache):
            cache["seen"] += 1
            wider = torch.cat([x] * cache["seen"])
            return torch.tanh(torch.tanh(super().forward(wider)))[: len(x)].sin()

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList([Cached(WIDTH, WIDTH) for _ in range(4)])

        def forward(self, x):
            cache = {"seen": 0}
            for layer in self.layers:
                x = layer(x, cache)
            return x

    return Model()


def a_parameter(torch):
    def act(block, x):
        with torch.no_grad():
            block.weight.mul_(0.99)
        return x

    return blocks_that(torch, act)


def a_tensor_in_a_list(torch):
    def act(block, x):
        block.scales[0].mul_(0.9)
        return x * block.scales[0].clone()

    return blocks_that(torch, act, lambda block: setattr(block, "scales", [torch.ones(WIDTH)]))


def another_block(torch):
    def act(block, x):
        with torch.no_grad():
            block.other[0].bias.add_(0.1)
        return x

    module = blocks_that(torch, act)
    for block, other in itertools.pairwise([*module, module[0]]):
        block.other = [other]
    return module


def a_large_list(torch):
    def act(block, x):
        block.seen.append(1)
        return x

    return blocks_that(torch, act, lambda block: setattr(block, "seen", [0] * 20_000))


def renormalized(torch):
    """An embedding that writes to its weight while it looks something up."""

    def prepare(block):
        block.table = torch.nn.Embedding(3, WIDTH, max_norm=0.5)

    return blocks_that(torch, lambda b, x: x + b.table(torch.zeros(64, dtype=torch.long)), prepare)


def gradient_mode(torch):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(blocks_that(torch, lambda _, x: x))

        def forward(self, x):
            for place, layer in enumerate(self.layers):
                with torch.autocast("cpu", torch.bfloat16, enabled=place < 2):
                    x = layer(x).float()
            return x

    return Model()


def between(torch, act, use):
    """A module that does something with each block between the calls of its blocks."""

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(blocks_that(torch, act))

        def forward(self, x):
            found = []
            for layer in self.layers:
                x = layer(x)
                found.append(use(layer))
            return x + sum(found)

    return Model()


def draws_between(torch):
    return between(torch, lambda _, x: x, lambda _: random.random())


def collects_losses_between(torch):
    def act(block, x):
        block.extra = torch.nn.functional.linear(x, block.weight).mean()
        return x

    return between(torch, act, lambda block: block.extra)


def noise_from_a_clock(torch):
    """Nothing that could be looked at tells of it."""

    def act(block, x):
        block.ticks = getattr(block, "ticks", 0) + 1
        return x * (1 + ticking[block.ticks])

    ticking = {tick: (tick * 7919 % 1009) / 1009 for tick in range(1, 100)}
    return blocks_that(torch, act)


def dropout_and_draws_between(torch):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            blocks = blocks_that(torch, lambda _, x: torch.nn.functional.dropout(x))
            self.layers = torch.nn.ModuleList(blocks)

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
                x = x + torch.rand(())
            return x

    return Model()


def reads_a_counter_between(torch):
    def act(block, x):
        block.calls = getattr(block, "calls", 0) + 1
        return x

    return between(torch, act, lambda block: block.calls + 1)


RIGHT = (
    *(counter, growing_list, nested_tables, an_object, an_object_with_slots, a_deque, an_array),
    *(generator_of_torch, generator_of_numpy, generator_of_numpy_in_a_closure, state_of_numpy),
    *(generator_of_python, global_generators, seeded_inside, buffer_in_place, buffer_replaced),
    *(buffer_through_data, plain_tensor, spectral_norm_as_hook, spectral_norm_as_parametrization),
    *(weight_norm, cumulative_batch_norm, instance_norm, pre_hooks, hooks_registered_inside),
    *(hooks_of_backward, autocast_inside, mixture, growing_cache),
    *(a_parameter, a_tensor_in_a_list, another_block, a_large_list),
    *(renormalized, gradient_mode, draws_between, collects_losses_between),
    *(reads_a_counter_between, noise_from_a_clock, dropout_and_draws_between),
)


def smallest(mpt, module, x):
    with pytest.raises(mp.InfeasibleBudget) as caught:
        mpt.auto_checkpoint(module, x, 1)
    return caught.value.smallest


def made(torch, make):
    torch.manual_seed(0)
    return make(torch)


def seeded(torch, seed):
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002


def three_steps(torch, module, x):
    """Outputs, gradients and buffers of three steps, and the random numbers after them."""
    found = []
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for step in range(3):
        seeded(torch, step)
        optimizer.zero_grad()
        output = module(x)
        output.square().mean().backward()
        found += [output.detach(), *(p.grad.clone() for p in module.parameters())]
        found += [buffer.clone() for buffer in module.buffers()]
        optimizer.step()
        found.append(torch.tensor([random.random(), np.random.rand(), float(torch.rand(()))]))  # noqa: NPY002
    return found


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:the forward pass runs .* times:UserWarning")
@pytest.mark.parametrize("make", RIGHT, ids=lambda make: make.__name__)
def test_what_blocks_do_beside_they_do_once_and_the_budget_holds(torch, mpt, make):
    """Over three updates as the module itself, and in the first traced steps."""
    x = torch.randn(64, WIDTH)
    expected = three_steps(torch, made(torch, make), x)
    module = made(torch, make)
    budget = smallest(mpt, module, x)
    planned = mpt.auto_checkpoint(module, x, budget)
    assert planned.plan.recomputed_flops > 0
    traced = copy.deepcopy(planned)
    found = three_steps(torch, planned, x)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    for _ in range(2):
        traced.zero_grad()
        assert mpt.trace(traced, x).peak <= budget


def test_the_spectral_norm_of_the_report_is_right(torch, mpt):
    def make(torch):
        nn = torch.nn
        linear = nn.utils.spectral_norm(nn.Linear(2, 2, bias=False))
        return nn.Sequential(linear, nn.Tanh(), nn.Tanh(), nn.Tanh())

    x = torch.randn(64, 2)
    expected = three_steps(torch, made(torch, make), x)
    found = three_steps(torch, mpt.auto_checkpoint(made(torch, make), x, 3659), x)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_planning_leaves_the_module_and_random_numbers_as_they_were(torch, mpt):
    generator = np.random.default_rng(3)

    def act(block, x):
        block.seen.append(random.random())
        return x * float(generator.random())

    module = blocks_that(torch, act, lambda block: setattr(block, "seen", []))
    random.seed(1)
    before = random.getstate(), generator.bit_generator.state
    smallest(mpt, module, torch.randn(64, WIDTH))
    assert (random.getstate(), generator.bit_generator.state) == before
    assert all(block.seen == [] for block in module)


def test_a_module_that_cannot_be_copied_is_refused_with_what_to_do(torch, mpt):
    def prepare(block):
        block.numbers = (1 / n for n in range(1, 9**9))

    module = blocks_that(torch, lambda block, x: x * next(block.numbers), prepare)
    with pytest.raises(mp.MempropError, match=r"cannot be copied.*generator"):
        mpt.auto_checkpoint(module, torch.randn(64, WIDTH), "1 GiB")


def test_what_is_written_to_by_the_module_is_kept_and_named(torch, mpt):
    module, x = made(torch, a_parameter), torch.randn(64, WIDTH)
    planned = mpt.auto_checkpoint(module, x, smallest(mpt, module, x))
    kept = planned.checkpoint_plan.attrs["kept"]
    assert any("0: aten::mul_" in reason and "was there before" in reason for reason in kept)


def test_noise_from_a_clock_is_drawn_once(torch, mpt):
    """What no recorder sees is no operator, and so does not run again."""

    def act(_, x):
        return x * (1 + time.perf_counter_ns() % 1009)

    module, x = blocks_that(torch, act), torch.randn(64, WIDTH, dtype=torch.float64)
    module.double()
    planned = mpt.auto_checkpoint(module, x, smallest(mpt, module, x))
    before = time.perf_counter_ns
    try:
        time.perf_counter_ns = lambda: 5
        loss, expected = planned(x).sum(), module(x).sum()
    finally:
        time.perf_counter_ns = before
    loss.backward()
    found = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    expected.backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(found, module.parameters(), strict=True))


def test_a_tensor_written_to_between_the_runs_is_refused(torch, mpt):
    module, x = blocks_that(torch, lambda block, x: x + block.bias), torch.randn(64, WIDTH)
    planned = mpt.auto_checkpoint(module, x, smallest(mpt, module, x))
    loss = planned(x).sum()
    with torch.no_grad():
        planned[0].bias.add_(1)
    with pytest.raises(mp.MempropError, match=r"shape \(16,\), has been written to since"):
        loss.backward()


def test_what_autograd_refuses_is_refused_still(torch, mpt):
    """Hooks on saved tensors must themselves find what was written to."""
    module, x = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Sigmoid()), torch.randn(8, 4)
    planned = mpt.auto_checkpoint(module, x, "1 GiB")
    output = planned(x)
    with torch.no_grad():
        output.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_a_step_that_breaks_off_leaves_nothing_behind(torch, mpt):
    class Model(torch.nn.Module):
        breaks = False

        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(buffer_in_place(torch))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
                if self.breaks:
                    raise KeyError("broken")
            return x

    module, x = Model(), torch.randn(64, WIDTH)
    twin = copy.deepcopy(module)
    planned = mpt.auto_checkpoint(module, x, smallest(mpt, module, x))
    x = x.requires_grad_()
    for each in (planned, twin):
        each.breaks = True
        with pytest.raises(KeyError, match="broken"):
            each(x)
        each.breaks = False
    assert torch.equal(planned(x), twin(x))


def test_a_functional_call_has_the_gradients_of_its_own_parameters(torch, mpt):
    module, x = blocks_that(torch, lambda _, x: x), torch.randn(64, WIDTH)
    planned = mpt.auto_checkpoint(module, x, smallest(mpt, module, x))
    others = {name: (p.detach() * 2).requires_grad_() for name, p in planned.named_parameters()}
    found = []
    for each in (planned, module):
        loss = torch.func.functional_call(each, others, (x,)).sum()
        found.append(torch.autograd.grad(loss, others.values()))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_transformations_of_functions_run_the_module_as_it_is(torch, mpt):
    module, x = blocks_that(torch, lambda _, x: x), torch.randn(64, WIDTH)
    planned = mpt.auto_checkpoint(module, x, smallest(mpt, module, x))

    def loss_of(each):
        values = {name: p.detach() for name, p in each.named_parameters()}
        return torch.func.grad(lambda p: torch.func.functional_call(each, p, (x,)).sum())(values)

    found, expected = loss_of(planned), loss_of(module)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_second_derivatives_are_those_of_the_module(torch, mpt):
    module, x = blocks_that(torch, lambda _, x: x), torch.randn(64, WIDTH)
    planned = mpt.auto_checkpoint(module, x, smallest(mpt, module, x))
    found = []
    for each in (planned, module):
        parameters = list(each.parameters())
        first = torch.autograd.grad(each(x).square().sum(), parameters, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), parameters))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
