"""Plans as data: curves, files, other modules, and what the compiler makes of them."""

import json
from dataclasses import replace

import pytest

import memprop as mp
from memprop.cli import run


@pytest.fixture(scope="module")
def mpt(torch):
    import memprop.torch

    return memprop.torch


def blocks(torch, count=4, width=32):
    nn = torch.nn
    parts = [
        nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(0.1),
        )
        for _ in range(count)
    ]
    return nn.Sequential(*parts)


def gradients(torch, module, x, seed=0):
    torch.manual_seed(seed)
    module.zero_grad()
    module(x).square().sum().backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


@pytest.fixture(scope="module")
def curve(torch, mpt):
    torch.manual_seed(0)
    module, x = blocks(torch), torch.randn(512, 32)
    return module, x, mpt.frontier(module, x)


def test_a_curve_rises_and_falls_and_ends_with_the_plain_step(mpt, curve):
    module, x, table = curve
    assert table["peak_bytes"].is_monotonic_increasing
    assert table["slowdown"].is_monotonic_decreasing
    assert table["peak_bytes"].iloc[-1] == mpt.simulate(module, x).peak
    assert table["slowdown"].iloc[-1] == 1
    assert len(table) > 10


def test_every_point_of_a_curve_is_what_its_plan_does(torch, mpt, curve):
    module, x, table = curve
    expected = gradients(torch, module, x)
    module.zero_grad()
    work = sum(operator.flops or 0 for operator in mpt.simulate(module, x).operators)
    for row in table.iloc[:: len(table) // 4].itertuples():
        planned = row.plan.apply(module)
        assert mpt.simulate(planned, x).peak == row.peak_bytes
        assert row.slowdown == pytest.approx(1 + row.recomputed_flops / work)
        found = gradients(torch, planned, x)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        module.zero_grad()


def test_a_plan_in_a_file_is_the_same_plan(torch, mpt, curve, tmp_path):
    module, x, table = curve
    plan = table["plan"].iloc[0]
    plan.save(tmp_path / "plan.json")
    loaded = mpt.CheckpointPlan.load(tmp_path / "plan.json")
    assert loaded == plan
    assert mpt.simulate(loaded.apply(module), x).peak == plan.peak


def test_a_plan_for_another_module_is_refused_with_the_difference(torch, curve):
    plan = curve[2]["plan"].iloc[0]
    with pytest.raises(mp.MempropError, match=r"parameter 0\.0\.weight has the shape \(32,\)"):
        plan.apply(blocks(torch, width=16))
    with pytest.raises(mp.MempropError, match=r"3\.0\.weight .* does not exist"):
        plan.apply(blocks(torch, count=3))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda _: "no JSON", "is no plan of memprop's"),
        (lambda _: "{}", "module"),
        (lambda plan: json.dumps({**plan, "schema": 99}), "format 99"),
        (lambda plan: json.dumps({**plan, "again": {"os.system.default": {}}}), "operators"),
        (lambda plan: json.dumps({**plan, "again": {"aten.nothing.default": {}}}), "operators"),
        (lambda plan: json.dumps({**plan, "again": {"aten": {}}}), "operators"),
        (lambda plan: json.dumps({**plan, "peak": "much"}), "peak"),
    ],
)
def test_a_damaged_file_is_refused_and_runs_nothing(mpt, curve, tmp_path, damage, said):
    file = tmp_path / "plan.json"
    curve[2]["plan"].iloc[0].save(file)
    file.write_text(damage(json.loads(file.read_text(encoding="utf-8"))), encoding="utf-8")
    with pytest.raises(mp.MempropError, match=said):
        mpt.CheckpointPlan.load(file)


def test_the_figure_of_a_curve_has_its_points(curve):
    import matplotlib.pyplot as plt

    table = curve[2]
    axes = mp.plot.frontier(table, points={"every block": (5e6, 1.3)})
    line, point = axes.get_lines()
    assert list(line.get_xdata()) == list(table["peak_bytes"])
    assert list(point.get_ydata()) == [1.3]
    plt.close(axes.figure)
    with pytest.raises(mp.MempropError, match="no plan to draw"):
        mp.plot.frontier(table.iloc[:0])


def test_the_compiler_keeps_what_the_plan_keeps(torch, mpt):
    """A partition without Inductor: what the compiled forward hands to the backward."""
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch._aot_autograd.utils import make_boxed_func
    from torch._functorch.partitioners import min_cut_rematerialization_partition

    torch.manual_seed(0)
    module, x = blocks(torch).eval(), torch.randn(512, 32)
    table = mpt.frontier(module, x)
    saved = []

    def partition(joint, inputs, **options):
        forward, backward = min_cut_rematerialization_partition(joint, inputs, **options)
        outputs = next(iter(forward.graph.find_nodes(op="output"))).args[0]
        kept = [node for node in outputs if node.op == "call_function"]
        saved.append(sum(node.meta["val"].nbytes for node in kept))
        return forward, backward

    backend = aot_autograd(
        fw_compiler=lambda graph, _: make_boxed_func(graph.forward),
        bw_compiler=lambda graph, _: make_boxed_func(graph.forward),
        partition_fn=partition,
    )
    expected = gradients(torch, module, x)
    chosen = table["plan"].iloc[[0, len(table) // 2, -1]]
    for plan in chosen:
        torch._dynamo.reset()
        compiled = torch.compile(plan.apply(module), backend=backend)
        found = gradients(torch, compiled, x)
        assert all(
            torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(found, expected, strict=True)
        )
    assert saved == sorted(saved)
    assert saved[0] < saved[-1] / 2


FACTORY = """
import torch
from torch import nn

def make(layers: int = 4):
    parts = [nn.Linear(64, 64), nn.GELU(), nn.LayerNorm(64)] * layers
    return {"module": nn.Sequential(*parts), "inputs": torch.empty(1024, 64)}
"""


@pytest.fixture
def factory(torch, tmp_path):
    file = tmp_path / "make.py"
    file.write_text(FACTORY, encoding="utf-8")
    return f"{file}:make"


def test_plan_on_the_command_line(mpt, factory, tmp_path, capsys):
    plan = tmp_path / "plan.json"
    argv = ["plan", factory, "--arg", "layers=3", "--budget", "2 MiB", "--json", "--out", str(plan)]
    assert run(argv) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["peak"] <= told["budget"] == 2 * 2**20
    assert told["peak"] < told["peak_without"]
    loaded = mpt.CheckpointPlan.load(plan)
    assert replace(loaded, blocks=()).peak == told["peak"]
    assert run(["plan", factory, "--budget", "3 MiB"]) == 0
    assert "predicted slow-down" in capsys.readouterr().out
    assert run(["plan", factory, "--budget", "3 MiB", "--compiled", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["compiled"]
    assert run(["plan", factory, "--frontier", "--compiled"]) == 2
    assert "--compiled plans for one budget" in capsys.readouterr().err
    assert run(["plan", factory, "--frontier", "--out", str(plan)]) == 2
    assert "--out writes the plan for one budget" in capsys.readouterr().err
    assert run(["plan", factory, "--frontier", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["frontier"]
    assert rows[-1]["slowdown"] == 1


def test_plans_that_offload_on_the_command_line(mpt, factory, capsys):
    asked = ["--device", "cuda", "--offload", "cpu", "--bandwidth", "100 TB", "--frontier"]
    assert run(["plan", factory, *asked, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["frontier"]
    assert rows[0]["offloaded_bytes"] > 0 == rows[-1]["offloaded_bytes"]
    assert run(["plan", factory, *asked]) == 0
    assert "on the host" in capsys.readouterr().out
    assert run(["plan", factory, *asked[:4], "--budget", "1 GiB"]) == 0
    assert "on the host" not in capsys.readouterr().out


def test_a_factory_of_an_inference_has_nothing_to_plan(mpt, tmp_path, capsys):
    file = tmp_path / "infers.py"
    file.write_text(FACTORY.replace('"inputs":', '"mode": "inference", "inputs":'), "utf-8")
    assert run(["plan", f"{file}:make", "--budget", "3 MiB"]) == 2
    assert "mode='inference'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--budget", "1 KiB"], "smallest budget"),
        (["--budget", "3 MiB", "--offload", "cpu"], "device='cuda'"),
        (["--budget", "3 MiB", "--bandwidth", "3"], "only used with offload"),
        (["--budget", "3 MiB", "--cost", "money"], "money"),
        (["--budget", "3 MiB", "--depth", "4"], "--depth describes a model"),
        ([], "one of --budget SIZE and --frontier"),
    ],
)
def test_what_cannot_be_planned_is_told_in_a_line(factory, capsys, argv, said):
    assert run(["plan", factory, *argv]) in (1, 2)
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_options_of_a_factory_need_one(capsys):
    assert run(["plan", "--depth", "3", "--budget", "8 MiB", "--gpu", "a100"]) == 2
    assert "--gpu needs a factory" in capsys.readouterr().err


def test_a_budget_for_a_gpu_is_for_what_its_allocator_reserves(torch, mpt):
    with torch.device("meta"):
        module, x = blocks(torch, count=3, width=256), torch.empty(8192, 256)
    step = {"optimizer": torch.optim.AdamW, "device": "cuda"}
    plain = mpt.simulate(module, x, warmup=1, **step).reserved_peak
    budget = plain * 3 // 4
    planned = mpt.auto_checkpoint(module, x, budget, **step)
    reserved = mpt.simulate(planned, x, warmup=1, **step).reserved_peak
    assert reserved == planned.plan.peak <= budget
    assert planned.plan.slowdown < 1.1
