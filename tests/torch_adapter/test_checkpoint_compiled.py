"""Plans for torch.compile: the peak is that of its graphs, as the allocator has it."""

import copy

import pytest

import memprop as mp


@pytest.fixture(scope="module")
def mpt(torch):
    import memprop.torch

    return memprop.torch


@pytest.fixture(autouse=True)
def nothing_compiled(torch):
    yield
    torch._dynamo.reset()


def blocks(torch, dropout=0.0):
    """Norms and attention."""
    layer = torch.nn.TransformerEncoderLayer(
        32, 4, 64, dropout=dropout, batch_first=True, norm_first=True, activation="gelu"
    )
    return torch.nn.Sequential(layer, copy.deepcopy(layer)), torch.randn(8, 16, 32)


def in_place(torch):
    """Running statistics, and operators in place."""
    parts = [
        part
        for _ in range(4)
        for part in (
            torch.nn.Linear(32, 32),
            torch.nn.BatchNorm1d(32),
            torch.nn.ReLU(inplace=True),
        )
    ]
    return torch.nn.Sequential(*parts), torch.randn(256, 32)


def two_results(torch):
    """A dictionary in, a tuple out."""

    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(32, 64), torch.nn.Linear(64, 32)

        def forward(self, x, scale):
            hidden = torch.nn.functional.gelu(self.first(x) * scale)
            return self.second(hidden), torch.tanh(hidden)

    return Both(), {"x": torch.randn(64, 32), "scale": torch.ones(64, 1)}


MODELS = (blocks, in_place, two_results)


def allocated_peak(torch, module, inputs, mpt):
    """The most bytes that a step has beyond what was there, as PyTorch's profiler says."""
    from memprop.torch.inputs import arguments, loss_of

    args, kwargs = arguments(inputs)

    def step():
        output = module(*args, **kwargs)
        loss = loss_of(None, output, None)
        loss.backward()
        return output

    for _ in range(2):
        step()
        module.zero_grad()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiled:
        step()
    module.zero_grad()
    live = most = 0
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return most


def bytes_before(torch, module, inputs):
    tensors = [*module.parameters(), *module.buffers()]
    tensors += list(inputs.values()) if isinstance(inputs, dict) else [inputs]
    return sum(tensor.nbytes for tensor in tensors)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("share", [0.85, 0.6])
def test_the_peak_is_predicted_and_kept(torch, mpt, make, share):
    torch.manual_seed(0)
    module, inputs = make(torch)
    before = bytes_before(torch, module, inputs)
    activations = mpt.simulate(module, inputs).peak - before
    scratch = 0
    if make is in_place:  # batch norm's kernel has a buffer that the profiler sees, and no ledger
        scratch = allocated_peak(torch, module, inputs, mpt) - activations
    budget = before + round(share * activations)
    try:
        planned = mpt.auto_checkpoint(module, inputs, budget, compiled=True)
    except mp.InfeasibleBudget as error:
        budget = error.smallest
        planned = mpt.auto_checkpoint(module, inputs, budget, compiled=True)
    assert planned.plan.compiled
    assert planned.plan.peak <= budget
    compiled = torch.compile(planned, backend="aot_eager", fullgraph=True)
    measured = before + allocated_peak(torch, compiled, inputs, mpt)
    assert measured == planned.plan.peak + scratch


@pytest.mark.filterwarnings("ignore")
def test_gradients_are_those_of_the_compiled_module(torch, mpt):
    torch.manual_seed(0)
    module, x = blocks(torch, dropout=0.1)
    plain = mpt.simulate(module, x).peak
    planned = mpt.auto_checkpoint(module, x, round(0.8 * plain), compiled=True)
    found = []
    for one in (module, planned):
        torch.manual_seed(1)
        torch._dynamo.reset()
        torch.compile(one, backend="aot_eager")(x).sum().backward()
        found.append([p.grad.clone() for p in module.parameters()])
        module.zero_grad()
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


@pytest.mark.filterwarnings("ignore")
def test_an_optimizer_and_micro_batches_count(torch, mpt):
    module, inputs = two_results(torch)
    options = {"optimizer": torch.optim.AdamW, "micro_batches": 2}
    room = mpt.simulate(module, inputs, warmup=1, **options).peak
    plan = mpt.auto_checkpoint(module, inputs, room, compiled=True, **options).plan
    parameters = sum(p.nbytes for p in module.parameters())
    assert 4 * parameters < plan.peak <= room
    assert all(p.grad is None for p in module.parameters())


def test_it_is_written_to_the_file_of_a_plan(torch, mpt, tmp_path):
    module, inputs = two_results(torch)
    room = round(0.95 * mpt.simulate(module, inputs).peak)
    plan = mpt.auto_checkpoint(module, inputs, room, compiled=True).plan
    plan.save(tmp_path / "plan.json")
    assert mpt.CheckpointPlan.load(tmp_path / "plan.json") == plan


def test_what_the_user_had_compiled_stays_compiled(torch, mpt):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    module, x = in_place(torch)
    theirs = torch.compile(torch.nn.Linear(4, 4), backend=backend)
    theirs(torch.ones(2, 4))
    mpt.auto_checkpoint(module, x, "1 GiB", compiled=True)
    theirs(torch.ones(2, 4))
    assert len(graphs) == 1


def test_a_module_that_is_no_single_graph_is_refused(torch, mpt):
    class Prints(torch.nn.Linear):
        def forward(self, x):
            torch._dynamo.graph_break()
            return torch.tanh(super().forward(x))

    with pytest.raises(mp.MempropError, match="not make one graph of Prints"):
        mpt.auto_checkpoint(Prints(4, 4), torch.ones(2, 4), "1 GiB", compiled=True)


def test_another_device_is_refused(torch, mpt):
    with pytest.raises(mp.MempropError, match="leave one of them out"):
        mpt.auto_checkpoint(
            torch.nn.Linear(4, 4), torch.ones(2, 4), "1 GiB", compiled=True, device="cuda"
        )
