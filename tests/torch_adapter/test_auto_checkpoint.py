"""auto_checkpoint: within the budget, and the same step bit by bit."""

import copy

import pytest

import memprop as mp


@pytest.fixture(scope="module")
def mpt(torch):
    import memprop.torch

    return memprop.torch


def stacked(torch, blocks, *, given=None):
    """A module with an embedding, a ModuleList of blocks that are given a mask, and a head."""

    class Stacked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Linear(16, 32)
            self.blocks = torch.nn.ModuleList(blocks)
            self.head = torch.nn.Linear(32, 7)

        def forward(self, x):
            x = self.embed(x)
            for block in self.blocks:
                x = block(x) if given is None else block(x, scale=given)
            return self.head(x)

    return Stacked()


def residual(torch, width, *, dropout=0.1):
    """A block x + f(x) of an inner width, with dropout."""

    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.up = torch.nn.Linear(32, width)
            self.drop = torch.nn.Dropout(dropout)
            self.down = torch.nn.Linear(width, 32)

        def forward(self, x, scale=None):
            inner = self.drop(torch.nn.functional.gelu(self.up(x)))
            inner = inner if scale is None else inner * scale
            return x + self.down(inner)

    return Residual()


def even(torch):
    return stacked(torch, [residual(torch, 96) for _ in range(7)]), torch.randn(64, 16)


def uneven(torch):
    widths = (64, 512, 32, 256, 64)
    return stacked(torch, [residual(torch, width) for width in widths]), torch.randn(64, 16)


def masked(torch):
    blocks = [residual(torch, 96) for _ in range(5)]
    return stacked(torch, blocks, given=torch.ones(1, 96) * 0.5), torch.randn(64, 16)


def convolutions(torch):
    """A Sequential with batch norm, and activations that write over their input."""
    nn = torch.nn
    layers = []
    for before, after in ((3, 8), (8, 8), (8, 16), (16, 16)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(True)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, 4)]
    return nn.Sequential(*layers), torch.randn(4, 3, 12, 12)


def encoder(torch):
    nn = torch.nn
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
    return nn.TransformerEncoder(layer, 5, enable_nested_tensor=False), torch.randn(4, 12, 32)


MODULES = {made.__name__: made for made in (even, uneven, masked, convolutions, encoder)}


def budgets(mpt, module, x):
    """Bytes from the least that is feasible up to what keeping everything takes."""
    most = mpt.simulate(module, x).peak
    with pytest.raises(mp.InfeasibleBudget) as caught:
        mpt.auto_checkpoint(module, x, 1)
    least = caught.value.smallest
    return [least + (most - least) * part // 3 for part in range(4)]


@pytest.mark.parametrize("made", MODULES.values(), ids=MODULES)
def test_the_step_stays_within_the_budget_as_predicted(torch, mpt, made):
    torch.manual_seed(0)
    module, x = made(torch)
    for budget in budgets(mpt, module, x):
        planned = mpt.auto_checkpoint(module, x, budget)
        peak = mpt.trace(planned, x).peak
        assert peak == planned.checkpoint_plan.attrs["predicted_peak"] <= budget
        module.zero_grad()


@pytest.mark.parametrize("made", MODULES.values(), ids=MODULES)
def test_outputs_gradients_and_state_are_the_same_bit_by_bit(torch, mpt, made):
    """Dropout and the running statistics of batch norm included, over three updates."""
    torch.manual_seed(0)
    module, x = made(torch)
    least = budgets(mpt, module, x)[0]
    plain, twin = module, copy.deepcopy(module)
    planned = mpt.auto_checkpoint(twin, x, least)
    assert list(planned.state_dict()) == list(plain.state_dict())
    steps = [(m, torch.optim.AdamW(m.parameters(), 1e-3)) for m in (plain, planned)]
    for seed in range(3):
        outputs = []
        for model, optimizer in steps:
            torch.manual_seed(seed)
            optimizer.zero_grad()
            output = model(x)
            output.square().mean().backward()
            optimizer.step()
            gradients = [p.grad.clone() for p in model.parameters()]
            outputs.append([output.detach(), *gradients, *model.state_dict().values()])
        assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


def test_parameters_are_shared_and_the_module_is_left_alone(torch, mpt):
    module, x = even(torch)
    planned = mpt.auto_checkpoint(module, x, budgets(mpt, module, x)[0])
    for (name, own), (other, shared) in zip(
        module.named_parameters(), planned.named_parameters(), strict=True
    ):
        assert name == other
        assert own is shared
    assert all("forward" not in vars(part) for part in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_fewer_bytes_cost_more_flops_and_no_budget_is_left_unused_for_nothing(torch, mpt):
    module, x = even(torch)
    plans = [mpt.checkpoint_plan(module, x, b) for b in budgets(mpt, module, x)]
    flops = [plan.attrs["recomputed_flops"] for plan in plans]
    assert flops == sorted(flops, reverse=True)
    assert flops[0] > flops[-1] == 0
    assert (plans[-1]["runs"] == 1).all()


def counting(torch, weights, ran):
    """A mode that counts the products with each of the weights."""

    class Counting(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten.addmm.default and args[2].data_ptr() in weights:
                ran[weights[args[2].data_ptr()]] += 1
            return func(*args, **(kwargs or {}))

    return Counting()


def test_the_table_agrees_with_what_runs(torch, mpt):
    """Products that run, counted by the weights that they read, and what the trace says is kept."""
    module, x = uneven(torch)
    for budget in budgets(mpt, module, x):
        planned = mpt.auto_checkpoint(module, x, budget)
        weights = {p.data_ptr(): name for name, p in planned.named_parameters() if p.dim() == 2}
        ran = dict.fromkeys(weights.values(), 0)

        with counting(torch, weights, ran):
            planned(x).sum().backward()
        module.zero_grad()
        trace = mpt.simulate(planned, x)
        table = trace.intermediates()
        for row in planned.checkpoint_plan.itertuples():
            products = [ran[f"{row.block}.{name}.weight"] for name in ("up", "down")]
            assert max(products) <= row.runs
            inner = module.get_submodule(row.block).up.out_features
            assert 2 * 64 * 32 * inner * 2 < row.forward_flops < 1.1 * 2 * 64 * 32 * inner * 2
            again = sum((times - 1) * 2 * 64 * 32 * inner for times in products)
            assert again <= row.recomputed_flops <= again + 20 * 64 * inner
            assert (row.keeps == "all") == (row.recomputed_flops == 0)
        assert planned.plan.recomputed_flops >= planned.checkpoint_plan["recomputed_flops"].sum()
        assert table["recomputed"].any() == (planned.plan.recomputed_flops > 0)


def test_the_state_of_the_optimizer_counts(torch, mpt):
    module, x = even(torch)
    size = sum(parameter.nbytes for parameter in module.parameters())
    without = mpt.checkpoint_plan(module, x, "1 GiB")
    adam = mpt.checkpoint_plan(module, x, "1 GiB", optimizer=torch.optim.Adam)
    grown = adam.attrs["predicted_peak"] - without.attrs["predicted_peak"]
    steps = 4 * len(list(module.parameters()))
    assert grown >= 2 * size + steps
    optimizer = torch.optim.Adam(module.parameters())
    traced = mpt.trace(module, x, optimizer=optimizer, warmup=1)
    assert traced.peak == adam.attrs["predicted_peak"]


def test_an_infeasible_budget_names_the_smallest_which_then_works(torch, mpt):
    module, x = even(torch)
    with pytest.raises(mp.InfeasibleBudget, match="smallest budget") as caught:
        mpt.auto_checkpoint(module, x, "10 KiB")
    smallest = caught.value.smallest
    plan = mpt.checkpoint_plan(module, x, smallest)
    assert plan.attrs["predicted_peak"] == smallest
    with pytest.raises(mp.InfeasibleBudget):
        mpt.auto_checkpoint(module, x, smallest - 1)


def test_a_model_without_memory_can_be_planned(torch, mpt):
    with torch.device("meta"):
        module = stacked(torch, [residual(torch, 4096) for _ in range(12)])
    x = torch.empty(4096, 16, device="meta")
    most = mpt.simulate(module, x).peak
    plan = mpt.checkpoint_plan(module, x, most // 2)
    assert plan.attrs["peak_without"] == most
    assert plan.attrs["predicted_peak"] <= most // 2


def test_without_gradients_nothing_is_recomputed(torch, mpt):
    module, x = even(torch)
    module.eval()
    planned = mpt.auto_checkpoint(module, x, budgets(mpt, module, x)[0])
    with torch.no_grad():
        assert torch.equal(planned(x), module(x))


def test_other_inputs_than_planned_give_the_same_result(torch, mpt):
    module, x = even(torch)
    module.eval()
    planned = mpt.auto_checkpoint(module, x, budgets(mpt, module, x)[0])
    other = torch.randn(5, 16)
    assert torch.equal(planned(other), module(other))


def collecting(torch):
    """Uses what goes from block to block a second time."""

    class Collecting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(8, 8) for _ in range(3)])

        def forward(self, x):
            seen = []
            for layer in self.layers:
                x = layer(x)
                seen.append(x)
            return sum(seen)

    return Collecting()


def returning(torch):
    """Returns what goes from block to block."""

    class Returning(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Tanh(), torch.nn.Linear(8, 8)])
            self.first = torch.nn.Linear(8, 8)

        def forward(self, x):
            x = hidden = self.layers[0](self.first(x))
            return {"loss": self.layers[1](x).sum(), "hidden": hidden}

    return Returning()


def between(torch):
    """Does something between the blocks."""

    class Between(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(8, 8) for _ in range(3)])

        def forward(self, x):
            for layer in self.layers:
                x = x + layer(x)
            return x

    return Between()


def backwards(torch):
    """Calls its blocks in another order."""

    class Backwards(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(8, 8) for _ in range(3)])

        def forward(self, x):
            for layer in reversed(self.layers):
                x = layer(x)
            return x

    return Backwards()


def pairs(torch):
    """Blocks that return two tensors."""

    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(8, 8)

        def forward(self, both):
            return self.linear(both[0]), both[1]

    class Pairs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(Pair(), Pair())

        def forward(self, x):
            return self.layers((x, x))[0]

    return Pairs()


def writing(torch):
    """Blocks that write over an argument."""

    class Writing(torch.nn.Linear):
        def forward(self, x, state):
            state += x.detach().mean()
            return super().forward(x) + state.clone()

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList([Writing(8, 8), Writing(8, 8)])

        def forward(self, x):
            state = torch.zeros(())
            for layer in self.layers:
                x = layer(x, state)
            return x

    return Model()


def alone(torch):
    return torch.nn.Linear(8, 8)


def two(torch):
    return torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(8, 8))


NO_CHAINS = (collecting, returning, between, backwards, pairs, writing, alone, two)


@pytest.mark.parametrize("made", NO_CHAINS, ids=lambda made: made.__name__)
def test_a_module_need_not_be_a_chain_of_blocks(torch, mpt, made):
    torch.manual_seed(0)
    module, x = made(torch), torch.randn(4, 8)

    def gradients_of(each):
        each.zero_grad()
        output = each(x)
        (output["loss"] if isinstance(output, dict) else output.square().sum()).backward()
        return [p.grad.clone() for p in each.parameters()]

    for budget in budgets(mpt, module, x):
        planned = mpt.auto_checkpoint(module, x, budget)
        assert all_equal(torch, gradients_of(planned), gradients_of(module))
        module.zero_grad()
        assert mpt.trace(planned, x).peak == planned.plan.peak <= budget
        module.zero_grad()


def test_blocks_can_be_named(torch, mpt):
    module, x = even(torch)
    plan = mpt.checkpoint_plan(module, x, "1 GiB", blocks="blocks")
    assert plan["block"].tolist() == [f"blocks.{number}" for number in range(7)]
    with pytest.raises(mp.MempropError, match="did you mean 'blocks'"):
        mpt.auto_checkpoint(module, x, "1 GiB", blocks="block")


@pytest.mark.parametrize("budget", ["a lot", -1, 0, 1.5, None])
def test_an_impossible_budget_is_an_error(torch, mpt, budget):
    module, x = even(torch)
    with pytest.raises(mp.MempropError, match=r"budget|byte|size"):
        mpt.auto_checkpoint(module, x, budget)


def test_each_block_gets_its_own_arguments(torch, mpt):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = torch.nn.ModuleList([residual(torch, 96, dropout=0) for _ in range(6)])

        def forward(self, x):
            for number, block in enumerate(self.blocks):
                x = block(x, scale=torch.full((1, 96), float(number)))
            return x

    module, x = Model(), torch.randn(64, 32)
    planned = tight(mpt, module, x)
    assert (planned.checkpoint_plan["runs"] > 1).any()
    assert all_equal(torch, gradients(planned, x), gradients(module, x))


def test_threads_do_not_disturb_each_other(torch, mpt):
    from concurrent.futures import ThreadPoolExecutor

    module, x = even(torch)
    module.eval()
    planned = mpt.auto_checkpoint(module, x, budgets(mpt, module, x)[0])
    inputs = [torch.randn(64, 16) for _ in range(16)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(planned, inputs))
    assert all(torch.equal(a, module(b)) for a, b in zip(found, inputs, strict=True))


def tight(mpt, module, x):
    """The module planned for the least bytes that are feasible."""
    return mpt.auto_checkpoint(module, x, budgets(mpt, module, x)[0])


def gradients(module, x, times=1):
    """The gradients of a step, its backward run so often."""
    module.zero_grad()
    loss = module(x).square().sum()
    for _ in range(times):
        loss.backward(retain_graph=True)
    return [parameter.grad.clone() for parameter in module.parameters()]


def all_equal(torch, one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_hooks_that_change_what_goes_in_and_out_act_once(torch, mpt):
    module = stacked(torch, [residual(torch, 64, dropout=0) for _ in range(5)])
    module.blocks[0].register_forward_pre_hook(lambda _, args: (args[0] * 2,))
    for block in module.blocks:
        block.register_forward_hook(lambda _, __, result: result * 3)
    x = torch.randn(64, 16)
    planned = tight(mpt, module, x)
    assert torch.equal(planned(x), module(x))
    assert all_equal(torch, gradients(planned, x), gradients(module, x))


def test_a_planned_module_can_be_copied_and_saved(torch, mpt, tmp_path):
    module, x = convolutions(torch)
    planned = tight(mpt, module.eval(), x)
    planned(x).sum().backward()
    torch.save(planned, tmp_path / "planned.pt")
    loaded = torch.load(tmp_path / "planned.pt", weights_only=False)
    for other in (copy.deepcopy(planned), loaded):
        assert all_equal(torch, gradients(other, x), gradients(module, x))
        other.zero_grad()
        assert mpt.simulate(other, x).peak == planned.checkpoint_plan.attrs["predicted_peak"]


def test_backward_can_run_twice(torch, mpt):
    module, x = convolutions(torch)
    module[-2].p = 0.0
    planned = tight(mpt, module, x)
    assert all_equal(torch, gradients(planned, x, times=2), gradients(module, x, times=2))


def test_random_numbers_of_python_and_numpy_repeat_themselves(torch, mpt):
    import random

    import numpy as np

    class Scaled(torch.nn.Linear):
        def forward(self, x):
            scale = random.choice([1.0, 2.0, 3.0]) + np.random.rand()  # noqa: NPY002
            return torch.tanh(super().forward(torch.tanh(x * scale)))

    module, x = torch.nn.Sequential(*[Scaled(16, 16) for _ in range(6)]), torch.randn(64, 16)
    planned = tight(mpt, module, x)
    found = []
    for each in (planned, module):
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        found.append([*gradients(each, x), torch.tensor(random.random())])
    assert all_equal(torch, *found)


def test_what_a_block_hands_on_and_a_later_one_writes_over_is_kept(torch, mpt):
    nn = torch.nn
    layers = [(nn.Linear(16, 16), nn.Identity(), nn.LeakyReLU(0.5, inplace=True)) for _ in range(4)]
    module, x = nn.Sequential(*[part for layer in layers for part in layer]), torch.randn(64, 16)
    planned = tight(mpt, module, x)
    assert planned.plan.recomputed_flops > 0
    assert all_equal(torch, gradients(planned, x), gradients(module, x))


def test_numbers_and_arrays_among_the_arguments_are_told_from_tensors(torch, mpt):
    import numpy as np

    class Ignoring(torch.nn.Linear):
        def forward(self, given, x):
            return torch.tanh(super().forward(x))

    class Model(torch.nn.Module):
        def __init__(self, given):
            super().__init__()
            self.blocks = torch.nn.ModuleList([Ignoring(16, 16) for _ in range(4)])
            self.given = given

        def forward(self, x):
            for block in self.blocks:
                x = block(self.given(), x)
            return x

    x = torch.randn(64, 16)
    for number in (1, 2, 3, np.ones(3)):
        mpt.auto_checkpoint(Model(lambda number=number: number), x, "1 GiB")


def test_blocks_with_checkpoints_of_their_own_can_be_planned(torch, mpt):
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(torch.nn.Sequential):
        def forward(self, x):
            return checkpoint(super().forward, x, use_reentrant=False)

    nn = torch.nn
    blocks = [Checkpointed(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16)) for _ in range(6)]
    module, x = nn.Sequential(*blocks), torch.randn(64, 16)
    planned = tight(mpt, module, x)
    assert all_equal(torch, gradients(planned, x), gradients(module, x))
    module.zero_grad()
    assert mpt.trace(planned, x).peak == planned.checkpoint_plan.attrs["predicted_peak"]


def test_another_step_than_planned_has_right_gradients_and_is_told(torch, mpt):
    class Early(torch.nn.Module):
        def __init__(self):
            super().__init__()
            layers = [torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.GELU())]
            self.layers = torch.nn.ModuleList(layers * 6)

        def forward(self, x, layers=6):
            for layer in self.layers[:layers]:
                x = layer(x)
            return x

    module, x = Early(), torch.randn(64, 16)
    planned = tight(mpt, module, x)
    with pytest.warns(UserWarning, match=r"runs aten::\w+ 2 times.* planned with 6.* Plan again"):
        found = planned(x, 2).square().sum()
    planned(x, 2)  # told once
    expected = module(x, 2).square().sum()
    both = [torch.autograd.grad(loss, list(module.parameters())) for loss in (found, expected)]
    assert all_equal(torch, *both)


def test_the_flag_that_changed_the_type_still_works_and_says_so(torch, mpt):
    module = torch.nn.Sequential(*[torch.nn.Linear(8, 8) for _ in range(4)])
    x = torch.randn(4, 8)
    with pytest.warns(DeprecationWarning, match="checkpoint_plan"):
        old = mpt.auto_checkpoint(module, x, "1 GiB", explain=True)
    assert old.equals(mpt.checkpoint_plan(module, x, "1 GiB"))
