"""Plans by seconds: what is measured, what is remembered, what a roofline says instead."""

import dataclasses
import json

import pytest

from memprop.errors import UnknownNameError


@pytest.fixture(scope="module")
def mpt(torch):
    import memprop.torch

    return memprop.torch


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch, torch):
    """A user's cache folder of its own, and nothing known in this process."""
    from memprop.torch.seconds import cache

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forget(monkeypatch)
    return cache.seconds_file()


def forget(monkeypatch):
    from collections import defaultdict

    from memprop.torch.seconds import cache

    monkeypatch.setattr(cache, "_known", defaultdict(dict))
    monkeypatch.setattr(cache, "_refused", set())


@pytest.fixture
def measured_kinds(monkeypatch):
    """The kinds of calls that are measured, a microsecond each."""
    from memprop.torch.seconds import measure

    found = []

    def timed(kind):
        found.append(kind)
        return 1e-6

    monkeypatch.setattr(measure, "timed", timed)
    return found


def network(torch):
    """Products, each with an exponential and a sine of few FLOPs after it, and inputs."""
    torch.manual_seed(0)

    class Wave(torch.nn.Module):
        def forward(self, x):
            return torch.sin(torch.exp(x))

    layers = [layer for _ in range(5) for layer in (torch.nn.Linear(32, 32), Wave())]
    return torch.nn.Sequential(*layers), torch.rand(256, 32)


def kind_of(torch, func, *args, **kwargs):
    from memprop.torch.seconds.calls import CallKind

    return CallKind.of(func, args, kwargs, lambda tensor: str(tensor.device))


def asked_call(torch, func, *args, flops=0, moved_bytes=0, is_product=False, **kwargs):
    from memprop.torch.seconds.calls import AskedCall

    kind = kind_of(torch, func, *args, **kwargs)
    return AskedCall(
        kind=kind, begin=0, flops=flops, moved_bytes=moved_bytes, is_product=is_product
    )


def test_alike_calls_have_one_description(torch):
    mm = torch.ops.aten.mm.default
    one = kind_of(torch, mm, torch.zeros(3, 4), torch.zeros(4, 5))
    assert one == kind_of(torch, mm, torch.ones(3, 4), torch.rand(4, 5))
    assert one.key == kind_of(torch, mm, torch.ones(3, 4), torch.rand(4, 5)).key
    others = [
        kind_of(torch, mm, torch.zeros(4, 3).t(), torch.zeros(4, 5)),  # strides
        kind_of(torch, mm, torch.zeros(3, 4).double(), torch.zeros(4, 5).double()),
        kind_of(torch, mm, torch.zeros(2, 4), torch.zeros(4, 5)),
        kind_of(torch, mm, torch.zeros(3, 4, device="meta"), torch.zeros(4, 5, device="meta")),
    ]
    assert len({one, *others}) == len({one.key, *(other.key for other in others)}) == 5


def test_a_description_holds_arguments_in_lists_and_by_name_and_no_generator(torch):
    aten = torch.ops.aten
    cat = kind_of(torch, aten.cat.default, [torch.zeros(2), torch.zeros(3)], 0)
    assert [tensor.size for tensor in cat.tensors] == [(2,), (3,)]
    draw = aten.bernoulli_.float
    drawn = [
        kind_of(torch, draw, torch.zeros(2), 0.5, generator=given)
        for given in (torch.Generator(), torch.Generator(), None)
    ]
    assert len(set(drawn)) == 1


def test_operands_are_made_with_the_shape_strides_and_type_of_the_description(torch):
    from memprop.torch.seconds.made import arguments_of

    given = [
        torch.zeros(4, 3).t(),
        torch.zeros(5).expand(4, 5),
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2, dtype=torch.bool),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2, dtype=torch.bfloat16),
        torch.zeros(0, 3),
        torch.zeros(2**20 + 3),
    ]
    kind = kind_of(torch, torch.ops.aten.cat.default, given, dim=0)
    (made,), named = arguments_of(kind)
    assert named == {"dim": 0}
    for one, other in zip(made, given, strict=True):
        assert (one.shape, one.stride(), one.dtype) == (other.shape, other.stride(), other.dtype)
    assert made[0].unique().numel() > 1
    assert not made[2].any()
    assert made[3].all()
    assert 0 <= made[-1].min() < made[-1].max() < 1


def test_calls_of_many_kinds_can_be_run_on_what_is_made(torch):
    from memprop.torch.seconds import measure

    aten = torch.ops.aten
    index, table, x = torch.tensor([5, 7]), torch.rand(9, 4), torch.rand(3, 4)
    kinds = [
        kind_of(torch, aten.embedding.default, table, index),
        kind_of(
            torch, aten.embedding_dense_backward.default, torch.rand(2, 4), index, 9, -1, False
        ),
        kind_of(torch, aten.index_select.default, table, 0, index),
        kind_of(torch, aten.index.Tensor, table, [index]),
        kind_of(torch, aten.gather.default, x, 1, torch.tensor([[3], [1]])),
        kind_of(torch, aten.scatter.value, x, 1, torch.tensor([[3], [1]]), 2.0),
        kind_of(torch, aten.masked_fill.Scalar, x, x > 0.5, 0.0),
        kind_of(torch, aten.nll_loss_forward.default, x, torch.tensor([1, 3, 2]), None, 1, -100),
        kind_of(torch, aten.native_dropout.default, x, 0.1, True),
        kind_of(torch, aten._foreach_mul_.Scalar, [x, table], 0.9),
        kind_of(torch, aten.arange.default, 7, device=torch.device("cpu")),
    ]
    for kind in kinds:
        with measure.unseen():
            assert measure.timed(kind) > 0, kind


def test_what_cannot_run_has_no_time(torch):
    from memprop.torch.seconds import measure

    aten = torch.ops.aten
    beyond = kind_of(
        torch, aten.index_select.default, torch.ones(0, 4), 0, torch.zeros(1, dtype=torch.int64)
    )
    wrong = kind_of(torch, aten.mm.default, torch.ones(3, 2), torch.ones(3, 2))
    with measure.unseen():
        assert measure.timed(beyond) is None
        assert measure.timed(wrong) is None
    there = kind_of(torch, aten.mm.default, torch.ones(2, 2), torch.ones(2, 2))
    elsewhere = kind_of(torch, aten.sin.default, torch.ones(2, device="meta"))
    large = kind_of(torch, aten.sin.default, torch.ones(1).expand(2**14))
    assert measure.can_run(there, 64)
    assert not measure.can_run(elsewhere, 64)
    assert not measure.can_run(large, 2**31)


def test_calls_that_cannot_run_take_what_the_roofline_says_as_much_longer_as_others_took(
    torch, monkeypatch
):
    from memprop.cuda.rates import Rates
    from memprop.torch.seconds import measure
    from memprop.torch.seconds.prices import measured

    aten = torch.ops.aten
    rates = Rates(products={"float32": 1e9}, others=1e9, bandwidth=1e9, launch=0)
    asked = [
        asked_call(torch, aten.sin.default, torch.ones(2), moved_bytes=1000),
        asked_call(torch, aten.cos.default, torch.ones(2), moved_bytes=3000),
        asked_call(torch, aten.tan.default, torch.ones(2), moved_bytes=2000),
    ]
    times = {aten.sin.default: 3e-6, aten.cos.default: 5e-6}
    tried = []

    def timed(kind):
        tried.append(kind.operator)
        return times.get(kind.operator)

    monkeypatch.setattr(measure, "timed", timed)
    prices = measured(asked, lambda _: rates)
    assert prices.seconds == pytest.approx([3e-6, 5e-6, 2e-6 * 8 / 4])
    assert prices.estimated == ("aten::tan",)
    assert tried == [aten.cos.default, aten.tan.default, aten.sin.default]  # the dearest first
    assert measured(asked, lambda _: rates) == prices
    assert len(tried) == 3  # what did not run is not tried again


def test_measuring_ends_when_its_time_is_over(torch, monkeypatch, measured_kinds):
    from memprop.torch.seconds import measure
    from memprop.torch.seconds.prices import Clock

    hours = iter(range(0, 100_000, 3600))
    monkeypatch.setattr(measure, "now", lambda: next(hours))
    kinds = [(kind_of(torch, torch.ops.aten.sin.default, torch.ones(n)), 8) for n in (1, 2)]
    assert list(Clock().of(kinds)) == [kinds[0][0]]
    assert len(measured_kinds) == 1


def test_a_roofline_takes_the_longer_of_operations_and_bytes(torch):
    from memprop.cuda.rates import BANDWIDTH_REACH, LAUNCH_SECONDS, PRODUCTS_REACH, rates_of
    from memprop.torch.seconds.roofline import by_roofline

    aten, rates = torch.ops.aten, rates_of("h100")
    half = torch.ones(1, dtype=torch.bfloat16)
    whole = torch.ones(1)

    def seconds(like, **work):
        call = asked_call(torch, aten.mm.default, like, like, is_product=True, **work)
        return by_roofline(call, rates) - LAUNCH_SECONDS

    flops = 2 * 4096**3
    assert seconds(half, flops=flops) == pytest.approx(flops / (989.5e12 * PRODUCTS_REACH))
    assert seconds(whole, flops=flops) == pytest.approx(flops / (67e12 * PRODUCTS_REACH))
    assert seconds(half, flops=1, moved_bytes=2**30) == pytest.approx(
        2**30 / (3.35e12 * BANDWIDTH_REACH)
    )
    relu = asked_call(torch, aten.relu.default, half, flops=10, moved_bytes=0)
    assert by_roofline(relu, rates) == pytest.approx(LAUNCH_SECONDS + 10 / (67e12 * PRODUCTS_REACH))


def test_float32_takes_tensor_cores_where_pytorch_may(torch):
    from memprop.cuda.rates import LAUNCH_SECONDS, PRODUCTS_REACH, rates_of
    from memprop.torch.seconds.roofline import by_roofline

    x = torch.ones(1)
    product = asked_call(torch, torch.ops.aten.mm.default, x, x, flops=10**12, is_product=True)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        seconds = by_roofline(product, rates_of("a100")) - LAUNCH_SECONDS
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    assert seconds == pytest.approx(1 / (156 * PRODUCTS_REACH))


def test_every_gpu_has_rates():
    from memprop.cuda.gpus import GPUS
    from memprop.cuda.rates import rates_of

    for name in GPUS:
        rates = rates_of(name)
        assert 0 < rates.launch < 1e-4
        assert rates.bandwidth < rates.products["float32"] <= rates.products["float16"]
    with pytest.raises(UnknownNameError, match="h100"):
        rates_of("h1000")


def test_bytes_are_those_of_operands_and_results(torch):
    from memprop.torch.seconds.watch import moved_bytes

    aten = torch.ops.aten
    x, y = torch.ones(10), torch.ones(20)
    table, index = torch.ones(1000, 4), torch.zeros(3, dtype=torch.int64)
    assert moved_bytes(aten.add.Tensor, [x, x], {}, x) == 120
    assert moved_bytes(aten.add.Tensor, [y, x[:1].expand(20)], {}, y) == 80 + 40 + 80
    assert moved_bytes(aten.add_.Tensor, [x, x], {}, x) == 120
    assert moved_bytes(aten.zero_.default, [x], {}, x) == 40
    assert moved_bytes(aten.copy_.default, [x, torch.ones(10)], {}, x) == 80
    assert moved_bytes(aten._foreach_mul_.Scalar, [[x, y], 2.0], {}, None) == 240
    looked_up = aten.embedding.default(table, index)
    assert moved_bytes(aten.embedding.default, [table, index], {}, looked_up) == 48 + 24 + 48


def test_the_whole_step_is_seen_and_views_take_no_time(torch, mpt, measured_kinds):
    module, x = network(torch)
    plan = mpt.checkpoint_plan(
        module, x, 2**30, cost="seconds", optimizer=torch.optim.AdamW, loss=lambda y: y.sum()
    )
    names = {kind.operator.name().partition(".")[0] for kind in measured_kinds}
    assert {"aten::addmm", "aten::sin", "aten::mm", "aten::cos", "aten::sum"} <= names
    assert {"aten::_foreach_addcdiv_", "aten::addcdiv_"} & names  # of the optimizer
    assert not {"aten::t", "aten::detach", "aten::expand", "aten::empty_like"} & names
    assert plan.attrs["cost"] == "seconds"
    assert plan.attrs["estimated"] == []


def test_alike_calls_are_measured_once_and_remembered(torch, mpt, measured_kinds, monkeypatch):
    module, x = network(torch)
    first = mpt.auto_checkpoint(module, x, 2**30, cost="seconds").plan
    assert len(measured_kinds) == len(set(measured_kinds)) > 5
    measured_kinds.clear()
    assert mpt.auto_checkpoint(module, x, 2**30, cost="seconds").plan == first
    assert not measured_kinds
    forget(monkeypatch)  # another process
    mpt.auto_checkpoint(module, x, 2**30, cost="seconds")
    assert not measured_kinds


def test_other_threads_and_other_versions_are_measured_anew(torch, monkeypatch):
    from memprop.torch.seconds.cache import device_key

    cpu = torch.device("cpu")
    known = device_key(cpu)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert device_key(cpu) != known
    monkeypatch.undo()
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert device_key(cpu) != known


@pytest.mark.parametrize("damage", [b"", b"{", b"[1, 2]", b'{"a": {"b": "c"}}', b"\xff\xfe"])
def test_a_damaged_file_is_ignored_and_replaced(cache_home, monkeypatch, damage):
    from memprop.torch.seconds import cache

    cache_home.parent.mkdir(parents=True, exist_ok=True)
    cache_home.write_bytes(damage)
    assert cache.remembered("a device") == {}
    cache.remember("a device", {"a call": 0.5})
    forget(monkeypatch)
    assert cache.remembered("a device") == {"a call": 0.5}
    assert json.loads(cache_home.read_text()) == {"a device": {"a call": 0.5}}


def test_what_others_wrote_meanwhile_stays(cache_home, monkeypatch):
    from memprop.torch.seconds import cache

    assert cache.remembered("one") == {}
    cache_home.parent.mkdir(parents=True, exist_ok=True)
    cache_home.write_text('{"one": {"theirs": 2.0}, "two": {"other": 3.0}}')
    cache.remember("one", {"ours": 1.0})
    forget(monkeypatch)
    assert cache.remembered("one") == {"theirs": 2.0, "ours": 1.0}
    assert cache.remembered("two") == {"other": 3.0}


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    from memprop.torch.seconds import cache

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cache.remember("one", {"ours": 1.0})
    assert cache.remembered("one") == {"ours": 1.0}


def dear(operators):
    """Measured seconds in which some operators are dear, and all others take a microsecond."""
    return lambda kind: 1.0 if kind.operator.name().partition(".")[0] in operators else 1e-6


def again(plan):
    """The operators that run again."""
    return {name.split(".")[1] for name in plan.again}


@pytest.mark.parametrize("operator", ["exp", "sin"])
def test_what_takes_long_is_kept_though_it_has_few_flops(torch, mpt, monkeypatch, operator):
    from memprop.torch.seconds import measure

    monkeypatch.setattr(measure, "timed", dear({f"aten::{operator}"}))
    module, x = network(torch)
    plans = list(mpt.frontier(module, x, cost="seconds")["plan"])
    assert any(plan.again for plan in plans)
    assert all(plan.cost == "seconds" for plan in plans)
    kept = [plan for plan in plans if operator not in again(plan)]
    assert any(plan.again for plan in kept)
    assert all(plan.slowdown < 1.01 for plan in kept)
    # It runs again only in plans that need fewer bytes than any that keeps it.
    assert all(plan.peak < kept[0].peak for plan in plans if plan not in kept)


def test_seconds_choose_otherwise_than_flops_within_one_budget(torch, mpt, monkeypatch):
    from memprop.torch.seconds import measure

    module, x = network(torch)
    budget = mpt.simulate(module, x).peak * 3 // 4
    by_flops = mpt.auto_checkpoint(module, x, budget)
    assert again(by_flops.plan) == {"sin"}
    monkeypatch.setattr(measure, "timed", dear({"aten::sin"}))
    by_seconds = mpt.auto_checkpoint(module, x, budget, cost="seconds")
    assert again(by_seconds.plan) == {"addmm", "exp"}
    assert by_seconds.plan.recomputed_flops > 10 * by_flops.plan.recomputed_flops
    assert by_seconds.plan.peak <= budget
    assert torch.equal(by_flops(x), by_seconds(x))


def test_the_slowdown_is_in_time(torch, mpt, monkeypatch):
    """Where each call takes a second, that is how many run again of how many there are."""
    from memprop.torch.checkpoint import planning
    from memprop.torch.seconds import measure

    monkeypatch.setattr(measure, "timed", lambda _: 1.0)
    module, x = network(torch)
    seen = []
    real = planning.in_seconds

    def noted(step, asked, pricing):
        seen.append(len(asked))
        return real(step, asked, pricing)

    monkeypatch.setattr(planning, "in_seconds", noted)
    frontier = mpt.frontier(module, x, cost="seconds")
    for plan in frontier["plan"]:
        paths = [path for places in plan.again.values() for path in places.values()]
        expected = 1 + len(paths) / seen[0]
        if max(map(len, paths), default=0) <= 1:  # no groups within groups
            assert plan.slowdown == pytest.approx(expected)
        else:
            assert plan.slowdown > expected
    assert frontier["slowdown"].iloc[0] > 1


def test_nothing_is_measured_for_a_gpu_that_is_not_there(torch, mpt, measured_kinds):
    module, x = network(torch)
    plan = mpt.auto_checkpoint(module, x, "1 GiB", device="cuda", gpu="t4", cost="seconds").plan
    assert not measured_kinds
    assert plan.cost == "seconds"
    assert "aten::addmm" in plan.estimated


@pytest.mark.parametrize("cost", ["flops", "seconds"])
def test_random_operators_can_run_again_on_a_gpu_that_is_not_there(torch, mpt, cost):
    linear, dropout = torch.nn.Linear(64, 64), torch.nn.Dropout(0.1)
    module = torch.nn.Sequential(linear, dropout, torch.nn.LSTM(64, 64))
    step = {"device": "cuda", "loss": lambda output: output[0].sum(), "cost": cost}
    plan = mpt.auto_checkpoint(module, torch.rand(16, 4, 64), 2**30, **step).plan
    assert not plan.kept


@pytest.mark.parametrize(
    ("name", "gpu"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA L40S", "l40s"),
        ("Tesla T4", "t4"),
    ],
)
def test_a_gpu_at_hand_is_known_by_its_name(torch, monkeypatch, name, gpu):
    from memprop.cuda.gpus import GPUS
    from memprop.torch.checkpoint.costs import is_at_hand

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not any(map(is_at_hand, GPUS))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    found = {one for one in GPUS if is_at_hand(one)}
    assert gpu in found
    assert {one.partition("-")[0] for one in found} == {gpu.partition("-")[0]}


def test_a_model_without_numbers_takes_the_rates_of_this_machine(torch, mpt, measured_kinds):
    with torch.device("meta"):
        module, x = network(torch)
    plan = mpt.auto_checkpoint(module, x, 2**30, cost="seconds").plan
    names = sorted(kind.operator.name() for kind in measured_kinds)
    assert names == ["aten::clone", "aten::mm", "aten::neg"]
    assert "aten::addmm" in plan.estimated


def test_a_recorder_sees_nothing_of_what_is_measured(torch, mpt):
    def operators(cost):
        module, x = network(torch)
        with mpt.profile() as prof:
            if cost is not None:
                mpt.auto_checkpoint(module, x, 2**30, cost=cost)
            module(x).sum().backward()
            prof.step()
        return [operator.name for operator in prof.trace.operators]

    assert operators("seconds") == operators("flops") == operators(None)


def test_random_numbers_are_those_that_they_would_have_been(torch, mpt):
    module = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.5))
    state = torch.get_rng_state()
    mpt.auto_checkpoint(
        module, torch.rand(4, 8, generator=torch.Generator()), 2**30, cost="seconds"
    )
    assert torch.equal(torch.get_rng_state(), state)


def test_a_plan_in_seconds_is_read_back_from_its_file(torch, mpt, measured_kinds, tmp_path):
    module, x = network(torch)
    plan = mpt.auto_checkpoint(module, x, 2**30, cost="seconds").plan
    plan.save(tmp_path / "plan.json")
    read = mpt.CheckpointPlan.load(tmp_path / "plan.json")
    assert read.cost == "seconds"
    assert read.estimated == dataclasses.asdict(plan)["estimated"]
    assert measured_kinds


@pytest.mark.parametrize("function", ["auto_checkpoint", "checkpoint_plan"])
def test_another_cost_is_refused(torch, mpt, function):
    module, x = network(torch)
    with pytest.raises(UnknownNameError, match="did you mean 'seconds'"):
        getattr(mpt, function)(module, x, 2**30, cost="second")
    with pytest.raises(UnknownNameError, match="unknown cost 'time'"):
        mpt.frontier(module, x, cost="time")


def test_flops_are_the_cost_if_none_is_named(torch, mpt, measured_kinds):
    module, x = network(torch)
    plan = mpt.auto_checkpoint(module, x, 2**30).plan
    assert (plan.cost, plan.estimated) == ("flops", ())
    assert not measured_kinds
