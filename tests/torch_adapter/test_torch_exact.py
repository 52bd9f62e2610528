"""The numbers of a step against autograd's hooks, MemTracker, the allocator, and the simulation."""

import copy
from collections import Counter

import asks_for_torch  # noqa: F401
import pytest
import torch
import torch_oracles as oracles
import torch_zoo as zoo

import memprop.torch as mpt

AUTOCAST = pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=["float32", "bfloat16"])


@pytest.mark.parametrize("name", zoo.SIMULATED)
def test_simulated_equals_traced_event_by_event(name):
    module, inputs = zoo.build(name)
    simulated = mpt.simulate(module, inputs, optimizer=torch.optim.AdamW)
    traced = mpt.trace(module, inputs, optimizer=torch.optim.AdamW)
    assert simulated == traced


@pytest.mark.parametrize("name", zoo.SIMULATED)
def test_simulated_equals_traced_under_autocast_in_all_but_the_order_of_frees(name):
    zoo.skip_without_lstm_in(torch.bfloat16, name)
    module, inputs = zoo.build(name)
    step = {"optimizer": torch.optim.AdamW, "autocast": torch.bfloat16}
    simulated = mpt.simulate(module, inputs, **step)
    traced = mpt.trace(module, inputs, **step)
    assert simulated.peak == traced.peak
    assert simulated.peak_by_category() == traced.peak_by_category()
    assert simulated.variables == traced.variables
    assert simulated.operators == traced.operators
    assert [kept.variable for kept in simulated.saved] == [kept.variable for kept in traced.saved]


@pytest.mark.parametrize("name", zoo.SIMULATED)
def test_simulated_equals_traced_in_a_step_like_all_later_ones(name):
    module, inputs = zoo.build(name)
    step = {"optimizer": torch.optim.AdamW, "warmup": 1}
    assert mpt.simulate(module, inputs, **step) == mpt.trace(module, inputs, **step)


@pytest.mark.parametrize(
    "options",
    [{"foreach": True}, {"fused": True}, {"lr": torch.tensor(0.1)}, {"amsgrad": True}],
    ids=lambda options: next(iter(options)),
)
def test_every_way_to_run_adam_is_simulated(options):
    module, inputs = zoo.build("cnn")
    optimizer = torch.optim.AdamW(module.parameters(), **options)
    oracles.step(module, inputs, optimizer)
    simulated = mpt.simulate(module, inputs, optimizer=optimizer)
    assert simulated == mpt.trace(module, inputs, optimizer=optimizer)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop", "Adagrad", "NAdam", "Adadelta"])
def test_an_optimizer_that_has_stepped_before_is_simulated_with_its_state(kind):
    module, inputs = zoo.build("mlp")
    optimizer = getattr(torch.optim, kind)(module.parameters(), lr=0.1)
    oracles.step(module, inputs, optimizer)
    simulated = mpt.simulate(module, inputs, optimizer=optimizer)
    assert simulated == mpt.trace(module, inputs, optimizer=optimizer)
    state = [t for parts in optimizer.state.values() for t in parts.values() if t is not None]
    expected = sum(tensor.numel() * tensor.element_size() for tensor in state)
    setup = simulated.timeline()["phase"] == "setup"
    assert simulated.timeline()["optimizer_state"][setup].iloc[-1] == expected


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", zoo.SIMULATED)
def test_simulated_equals_traced_in_inference(name):
    module, inputs = zoo.build(name)
    simulated = mpt.simulate(module, inputs, mode="inference")
    assert simulated == mpt.trace(module, inputs, mode="inference")
    assert not simulated.saved


@AUTOCAST
@pytest.mark.parametrize("name", zoo.ZOO)
def test_what_is_saved_is_what_the_hooks_of_autograd_see(name, autocast):
    zoo.skip_without_lstm_in(autocast, name)
    module, inputs = zoo.build(name)
    expected = oracles.hooked_bytes(copy.deepcopy(module), inputs, autocast)
    trace = mpt.trace(module, inputs, autocast=autocast)
    assert oracles.saved_bytes(trace) == expected
    assert trace.saved_bytes == sum(expected)


# MemTracker can take no frozen parameters and no sparse gradients.
@pytest.mark.parametrize("name", sorted(zoo.ZOO.keys() - {"frozen", "sparse"}))
def test_the_peak_is_that_of_mem_tracker(name):
    module, inputs = zoo.build(name)
    trace = mpt.trace(module, inputs, optimizer=torch.optim.AdamW)
    module, inputs = zoo.build(name)
    optimizer = torch.optim.AdamW(module.parameters())
    assert trace.peak == oracles.mem_tracker_peak(module, inputs, optimizer)


# Where a dispatch mode is active PyTorch adds out of place in linear (of a batch that is not
# contiguous, as in MultiheadAttention) and in the mask of attention's math.
OUT_OF_PLACE = {name for name in zoo.ZOO if name.startswith(("attention", "encoder"))} | {
    "sdpa_math"
}
# The indices of a sparse gradient are views; the LSTM of oneDNN makes other buffers when watched.
OTHERWISE = {"sparse", "lstm"}


@AUTOCAST
@pytest.mark.parametrize("name", sorted(zoo.ZOO.keys() - OUT_OF_PLACE - OTHERWISE))
def test_every_allocation_in_the_ledger_is_one_of_the_allocator(name, autocast):
    module, inputs = zoo.build(name)
    trace = mpt.trace(module, inputs, optimizer=torch.optim.AdamW, autocast=autocast)
    module, inputs = zoo.build(name)
    seen = oracles.allocations(module, inputs, torch.optim.AdamW(module.parameters()), autocast)
    table = trace.timeline()
    made = table[(table["kind"] == "allocate") & (table["phase"] != "setup") & (table["bytes"] > 0)]
    assert not Counter(made["bytes"].tolist()) - Counter(size for size in seen if size > 0)


class Branches(torch.nn.Module):
    """Operators that read one activation, so that their gradients are added up."""

    def __init__(self, join):
        super().__init__()
        self.first, self.second, self.third = (torch.nn.Linear(8, 8) for _ in range(3))
        self.join = join

    def forward(self, x):
        return self.join(self, self.first(x).tanh()).mean()


JOINS = {
    "four operators": lambda self, x: x.sin() + x.cos() + self.second(x) + self.third(x),
    "a residual": lambda self, x: x + self.second(x).tanh(),
    "one operator twice": lambda self, x: x * x,
    "a product with itself, and another": lambda self, x: (x * x).exp() + self.second(x).sin(),
    "a view first": lambda self, x: x.view(-1, 4, 8).sin().view(-1, 8) + x.cos() + x.exp(),
    "no sum": lambda self, x: self.third(self.second(x).sin()).exp(),
}


@pytest.mark.parametrize("join", JOINS.values(), ids=JOINS)
def test_gradients_of_branches_are_added_in_place_as_without_a_witness(join):
    x = torch.randn(512, 8)
    seen = [size for size in oracles.allocations(Branches(join), x) if size > 0]
    trace = mpt.trace(Branches(join), x)
    assert trace == mpt.simulate(Branches(join), x)
    table = trace.timeline()
    made = table[(table["kind"] == "allocate") & (table["phase"] != "setup")]
    large = x.numel() * x.element_size()
    assert (made["bytes"] == large).sum() == seen.count(large)
    assert trace.peak == oracles.allocator_peak(Branches(join), x)
