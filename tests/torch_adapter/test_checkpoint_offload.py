"""Results that wait in the host's memory: bytes to the byte, bits to the bit, time by a formula."""

import copy
import itertools
import random

import numpy as np
import pytest
from test_checkpoint_rehearsal import NAMES, step_of

import memprop as mp
from memprop.cuda.rates import BANDWIDTH_REACH, rates_of

FAST = "100 TB"
"""Bytes a second at which copies cost less than anything else."""
CUDA = {"device": "cuda", "offload": "cpu"}


def layers(torch, count=6, width=256, batch=64):
    parts = [p for _ in range(count) for p in (torch.nn.Linear(width, width), torch.nn.GELU())]
    return torch.nn.Sequential(*parts), torch.randn(batch, width)


@pytest.mark.parametrize("name", NAMES)
def test_bytes_on_both_sides_are_worked_out_to_the_byte(torch, mpt, zoo, choices, name):
    zoo.skip_without_lstm_in(torch.float32, name)
    module, inputs = zoo.build(name)
    rng = random.Random(name)

    def choose(step):
        chance = [choices.random_choice(step, rng, offloads=True) for _ in range(3)]
        return [choices.all_on_the_host(step), *chance]

    found = choices.chosen_for(module, inputs, choose, bandwidth=FAST, **CUDA)
    for candidate, twin in found:
        trace = mpt.simulate(twin, inputs, warmup=1, device="cuda")
        assert trace.peak == candidate.outcome.peak
        waiting = trace.on("pinned").peak if "pinned" in trace.devices else 0
        assert waiting == candidate.outcome.offloaded_bytes
    assert found[0][0].outcome.offloaded_bytes > 0


@pytest.mark.parametrize("name", NAMES)
def test_what_waited_on_the_host_has_the_same_bits(torch, mpt, zoo, choices, name):
    zoo.skip_without_lstm_in(torch.float32, name)
    module, inputs = zoo.build(name)
    plain = copy.deepcopy(module)
    rng = random.Random(name)

    def choose(step):
        chance = choices.random_choice(step, rng, offloads=True)
        return [choices.all_on_the_host(step), chance]

    for _, twin in choices.chosen_for(module, inputs, choose):  # on the CPU, as real steps are here
        for seed in range(3):
            found = step_of(torch, mpt, twin, inputs, seed)
            expected = step_of(torch, mpt, plain, inputs, seed)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        plain.load_state_dict(module.state_dict())


def chain_with_skips(torch, seed):
    """A module of a few operators in a row, some of which also read one further back."""
    rng = random.Random(seed)
    kinds = ["linear", *(rng.choice(["linear", "gelu", "tanh", "skip"]) for _ in range(5))]

    class Chain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            count = kinds.count("linear")
            self.layers = torch.nn.ModuleList(torch.nn.Linear(32, 32) for _ in range(count))

        def forward(self, x):
            values, layers = [x], iter(self.layers)
            for kind in kinds:
                if kind == "linear":
                    values.append(next(layers)(values[-1]))
                elif kind == "skip":
                    values.append(values[-1] * values[max(len(values) - 3, 0)])
                else:
                    values.append(getattr(torch.nn.functional, kind)(values[-1]))
            return values[-1]

    return Chain(), torch.randn(512, 32)


def copied(choice, step):
    """The bytes that a choice's plan copies, by its definition: all that is saved, both ways."""
    values = step.seen.values
    brought = [call for call, path in choice.items() if type(path) is not tuple]
    made = (values[number] for call in brought for number in step.seen.calls[call].made)
    return 2 * sum(value.bytes for value in made if value.saves)


def gaps(torch, choices, seed):
    """How much dearer the planner's step is than the best of all choices, at several budgets.

    Beside each stands whether something waits on the host in that best one.
    """
    from memprop.torch.checkpoint.host import LOADED
    from memprop.torch.checkpoint.offloading import offloadable
    from memprop.torch.checkpoint.planning import planning

    module, x = chain_with_skips(torch, seed)
    with planning(module, x, bandwidth="60 GB", **CUDA) as planned:
        step = planned.step
        units = choices.units_of(step)
        waiting = offloadable(step, range(len(step.seen.values)))
        ways = [({}, dict.fromkeys(unit, ())) for unit in units]
        for place, unit in enumerate(units):
            if unit[0] in waiting:
                ways[place] += ({unit[0]: LOADED},)
        every = []
        for chosen in itertools.product(*ways):
            choice = {call: path for one in chosen for call, path in one.items()}
            candidate = choices.gone_through(step, choice)
            every.append(candidate.outcome)
        plain, least = step.of({}).peak, min(one.peak for one in every)
        ratios = []
        for room in np.linspace(least, plain, 7).astype(int)[1:-1] if least < plain else ():
            best = min((one for one in every if one.peak <= room), key=lambda one: one.cost)
            found = planned.candidates.within(int(room))
            assert found.outcome.peak <= room
            ratio = (planned.work + found.outcome.cost) / (planned.work + best.cost)
            ratios.append((ratio, best.offloaded_bytes > 0))
    return ratios


def test_the_planner_comes_near_the_best_of_all_choices(torch, mpt, choices):
    """Kept, computed again, or waiting: every combination of small modules is tried."""
    found = [gaps(torch, choices, seed) for seed in range(8)]
    with choices.without_trying_every_choice():
        found += [gaps(torch, choices, seed) for seed in range(8)]
    ratios, waits = zip(*itertools.chain(*found), strict=True)
    assert len(ratios) >= 40
    assert sum(waits) >= len(waits) / 4
    assert np.mean(ratios) <= 1.05


def test_the_cost_is_that_of_the_copies_and_of_what_runs_again(torch, mpt, choices):
    from memprop.torch.checkpoint.planning import planning

    module, x = layers(torch)
    with planning(module, x, bandwidth=5e9, **CUDA) as planned:
        candidate = choices.all_on_the_host(planned.step)
        bytes_copied = copied(candidate.choice, planned.step)
    # Each of six layers hands GELU 64 x 256 numbers, and all but the last get what GELU made.
    assert bytes_copied == 2 * (6 + 5) * 64 * 256 * 4
    assert candidate.outcome.cost == pytest.approx(bytes_copied / 5e9)


def test_copies_pay_where_they_are_faster_than_computing_again(torch, mpt):
    module, x = layers(torch, width=1024, batch=4096)

    def plan(bandwidth):
        frontier = mpt.frontier(module, x, bandwidth=bandwidth, **CUDA)
        return frontier.iloc[-2].plan, frontier  # the last one keeps everything

    fast, every = plan(FAST)
    assert fast.offloaded_bytes > 0
    assert not any(plan.again for plan in every.plan)
    slow, every = plan("1 MB")
    assert slow.recomputed_flops > 0
    assert not every.offloaded_bytes.any()


def test_a_plan_keeps_to_its_budget_and_is_carried_out_after_a_way_through_a_file(
    torch, mpt, tmp_path
):
    module, x = layers(torch, count=8, width=1024, batch=4096)
    plain = mpt.simulate(module, x, warmup=1, device="cuda").reserved_peak
    with pytest.raises(mp.InfeasibleBudget) as refused:
        mpt.auto_checkpoint(module, x, 1, bandwidth=FAST, **CUDA)
    room = (plain + refused.value.smallest) // 2
    twin = mpt.auto_checkpoint(module, x, room, bandwidth=FAST, **CUDA)
    plan = twin.plan
    assert plan.cost == "seconds"
    assert plan.offloaded_bytes == sum(block.offloaded_bytes for block in plan.blocks) > 0
    assert plan.table.attrs["offloaded_bytes"] == plan.offloaded_bytes
    trace = mpt.simulate(twin, x, warmup=1, device="cuda")
    assert trace.reserved_peak == plan.peak <= room
    assert trace.on("pinned").peak == plan.offloaded_bytes
    plan.save(tmp_path / "plan.json")
    again = mpt.CheckpointPlan.load(tmp_path / "plan.json")
    assert again == plan
    assert mpt.simulate(again.apply(module), x, warmup=1, device="cuda").peak == trace.peak


def test_a_graph_that_is_kept_gives_the_same_gradients_twice(torch, mpt, choices):
    module, x = layers(torch)
    ((_, twin),) = choices.chosen_for(module, x, lambda step: [choices.all_on_the_host(step)])
    loss = twin(x).sum()
    loss.backward(retain_graph=True)
    first = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    loss.backward()
    assert all(torch.equal(p.grad, g) for p, g in zip(module.parameters(), first, strict=True))


def test_what_a_call_that_runs_again_reads_comes_back_too(torch, mpt, choices):
    """GELU runs again, of products that wait on the host."""
    from memprop.torch.checkpoint.host import LOADED

    module, x = layers(torch)

    def choose(step):
        found = {}
        for call in step.seen.calls:
            name = call.func.name()
            found |= {call.number: LOADED if name == "aten::addmm" else ()}
        return [choices.gone_through(step, found)]

    ((candidate, twin),) = choices.chosen_for(module, x, choose, bandwidth=FAST, **CUDA)
    trace = mpt.simulate(twin, x, warmup=1, device="cuda")
    assert trace.peak == candidate.outcome.peak
    assert trace.on("pinned").peak == candidate.outcome.offloaded_bytes == 6 * 64 * 256 * 4
    expected = step_of(torch, mpt, copy.deepcopy(module), x, 0)
    found = step_of(torch, mpt, twin, x, 0)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_is_written_to_before_it_is_saved_ends_the_step(torch, mpt, choices):
    """A call that runs again would read other numbers: frozen after planning, nobody saves them."""
    from memprop.torch.checkpoint.host import LOADED

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

        def forward(self, x):
            hidden = self.first(x)
            return torch.sin(hidden * 2) + self.second(hidden), hidden

    def choose(step):
        first, twice, *_ = step.seen.calls
        assert twice.func.name() == "aten::mul.Tensor"
        return [choices.gone_through(step, {first.number: LOADED, twice.number: ()})]

    module, x = Model(), torch.randn(4, 8)
    ((_, twin),) = choices.chosen_for(module, x, choose)
    module.second.requires_grad_(False)
    output, hidden = twin(x)
    with torch.no_grad():
        hidden.mul_(3)
    with pytest.raises(mp.MempropError, match="has been written to since"):
        output.sum().backward()


def test_the_compiler_is_told_too(torch, mpt):
    module, x = layers(torch, count=3, width=32)
    plan = mpt.frontier(module, x, bandwidth=FAST, **CUDA)["plan"].iloc[0]
    assert plan.offloaded
    torch._dynamo.reset()
    compiled = torch.compile(plan.apply(module), backend="aot_eager")
    expected = step_of(torch, mpt, copy.deepcopy(module), x, 0)
    found = step_of(torch, mpt, compiled, x, 0)
    assert all(torch.allclose(a, b) for a, b in zip(found, expected, strict=True))


def test_the_link_of_every_gpu_is_that_of_its_generation_of_pcie():
    from memprop.cuda.gpus import GPUS

    # Transfers a second, lanes, and the share of bits that are data (128 of 130), in bytes.
    lanes = {gen: rate * 16 * 128 / 130 / 8 for gen, rate in ((3, 8e9), (4, 16e9), (5, 32e9))}
    for name in GPUS:
        rate = rates_of(name).host / BANDWIDTH_REACH
        assert any(rate == pytest.approx(link, rel=1e-3) for link in lanes.values()), name
    assert rates_of("t4").host < rates_of("a100").host < rates_of("h100").host


def test_what_makes_no_sense_is_refused_in_words(torch, mpt):
    module, x = layers(torch, count=2)
    with pytest.raises(mp.MempropError, match=r"unknown offload 'disk'.*cpu"):
        mpt.auto_checkpoint(module, x, 2**30, device="cuda", offload="disk")
    with pytest.raises(mp.MempropError, match=r"on 'cpu': move the module .* device='cuda'"):
        mpt.auto_checkpoint(module, x, 2**30, offload="cpu")
    with pytest.raises(mp.MempropError, match="leave cost='flops' out"):
        mpt.auto_checkpoint(module, x, 2**30, cost="flops", **CUDA)
    with pytest.raises(mp.MempropError, match="leave compiled=True out"):
        mpt.auto_checkpoint(module, x, 2**30, compiled=True, offload="cpu")
    with pytest.raises(mp.MempropError, match="only used with offload"):
        mpt.frontier(module, x, bandwidth="25 GB")
    with pytest.raises(mp.MempropError, match="unknown device 'gpu0'"):
        mpt.frontier(module, x, device="gpu0", offload="cpu")
    assert mpt.frontier(module, x, bandwidth="25e9", **CUDA).equals(
        mpt.frontier(module, x, bandwidth=25e9, **CUDA)
    )
    for wrong in (0, -1, "0", float("nan"), float("inf"), "fast", None.__class__, True):
        with pytest.raises(mp.MempropError, match=r"bandwidth|bytes"):
            mpt.frontier(module, x, bandwidth=wrong, **CUDA)
