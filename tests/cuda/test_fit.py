"""Does it fit, and what would help: against simulations and formulas of one's own."""

import copy
import json
import math
import sys
from functools import cache

import asks_for_torch  # noqa: F401
import pytest
import torch
from torch import nn

import memprop.torch as mpt
from memprop.cli import run
from memprop.torch.fitting.changes import halved, like
from memprop.torch.fitting.eight_bit import AdamW8bit
from memprop.torch.fitting.resized import batch_of, resized
from memprop.units import parse_bytes

WIDTH, BLOCKS, BATCH = 64, 4, 1024


def blocks(norm=nn.Identity):
    parts = [
        nn.Sequential(nn.Linear(WIDTH, WIDTH), norm(WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
        for _ in range(BLOCKS)
    ]
    return nn.Sequential(*parts)


def make(batch):
    return blocks(), torch.empty(batch, WIDTH)


def loss(output):
    return output.sum()


def peak_of(batch, module=None, optimizer=torch.optim.AdamW, **options):
    """Live bytes of the second step on the CPU."""
    dtype = options.pop("dtype", torch.float32)
    module = module or blocks()
    inputs = torch.empty(batch, WIDTH, dtype=dtype)
    return mpt.simulate(
        module, inputs, loss=loss, optimizer=optimizer, warmup=1, device="cpu", **options
    ).peak


@cache
def line():
    """Fixed bytes and bytes for each sample: the peak is in backward, and affine there."""
    one, other = peak_of(2000), peak_of(4000)
    return 2 * one - other, (other - one) / 2000


@cache
def answer(budget, batch=BATCH, **options):
    options = {"loss": loss, "optimizer": torch.optim.AdamW, "device": "cpu", **options}
    return mpt.fit(make, budget, batch=batch, **options)


def ways(found):
    return {way.name: way for way in found.ways}


def test_it_fits_to_the_byte():
    peak = peak_of(BATCH)
    assert answer(peak).fits
    less = answer(peak - 1)
    assert not less.fits
    assert less.needed == peak
    assert less.asked.failed_at in {operator.name for operator in less.trace.operators}


@pytest.mark.parametrize("part", [1.7, 0.3])
def test_the_largest_batch_is_that_of_brute_force(part):
    budget = int(part * peak_of(BATCH))
    found = answer(budget)
    assert peak_of(found.largest) <= budget < peak_of(found.too_large)
    fixed, each = line()
    assert found.largest >= 0.99 * (budget - fixed) // each


def test_each_way_is_the_step_that_it_names():
    found = ways(answer(int(0.6 * peak_of(BATCH))))
    slices = next(way for name, way in found.items() if "slices" in name)
    assert slices.fits
    assert slices.tried.peak == peak_of(slices.tried.batch, micro_batches=2)
    assert found["SGD without momentum"].tried.peak == peak_of(BATCH, optimizer=torch.optim.SGD)
    halves = peak_of(BATCH, blocks().bfloat16(), dtype=torch.bfloat16)
    assert found["model in bfloat16"].tried.peak == halves
    # The peak is in backward, where the state lies beside it.
    saved = sum(p.numel() * 2 * (4 - 1 - 1 / 64) for p in blocks().parameters() if p.dim() > 1)
    eight = found["optimizer state of 8 bits"].tried.peak
    assert eight == pytest.approx(peak_of(BATCH) - saved, abs=4096)


def test_the_blocks_that_are_recomputed_let_it_fit():
    budget = int(0.8 * peak_of(4 * BATCH))
    found = answer(budget, 4 * BATCH)
    (way,) = [way for way in found.ways if way.name.startswith("recompute")]
    assert way.fits
    assert way.tried.peak <= budget
    given = way.how.partition('"')[2].partition('"')[0]
    # What it says can be done, and does it.
    module, inputs = make(4 * BATCH)
    planned = mpt.auto_checkpoint(module, inputs, given, loss=loss, optimizer=torch.optim.AdamW)
    assert peak_of(4 * BATCH, planned) <= parse_bytes(given)


def test_several_ways_are_put_together_where_none_alone_helps():
    persistent = 4 * 4 * sum(p.numel() for p in blocks().parameters())
    found = answer(int(0.9 * persistent), 256)
    assert not any(way.fits for way in found.ways if " + " not in way.name)
    assert any(way.fits for way in found.ways if " + " in way.name)
    assert found.largest == 0


@pytest.mark.parametrize("budget", ["30 MiB", "80 MiB", "90 MiB"])
def test_ten_simulations_are_enough(budget):
    told = []
    found = answer(
        budget,
        device="cuda",
        batch=8 * BATCH,
        progress=lambda what, number: told.append(number),
    )
    assert told == list(range(1, found.simulations + 1))
    assert found.simulations <= 10
    assert not found.fits


def test_a_model_that_does_not_bear_a_change_says_so():
    class OnlyWide(nn.Linear):
        def forward(self, x):
            if x.dtype is not torch.float32:
                raise TypeError("only float32")
            return super().forward(x)

    def of(batch):
        return OnlyWide(64, 64), torch.empty(batch, 64)

    found = mpt.fit(of, 500_000, batch=4096, loss=loss, device="cpu")
    way = ways(found)["model in bfloat16"]
    assert not way.fits
    assert way.why_not == "cannot be simulated: only float32"


def test_batch_norm_takes_no_single_sample():
    def of(batch):
        return blocks(nn.BatchNorm1d), torch.randn(batch, WIDTH)

    batches = []
    assert mpt.max_batch(lambda batch: batches.append(batch) or of(batch), 10, device="cpu") == 0
    assert batches[:1] == [8]
    assert set(batches[1:]) <= {1, 2}
    assert len(batches) < 10
    assert mpt.max_batch(of, "4 MiB", device="cpu") > 1


def test_a_budget_that_is_not_given_is_what_the_gpu_has():
    found = mpt.fit(make, batch=8, gpu="rtx4090", loss=loss)
    assert found.budget == 25 * 10**9 - 2**29
    assert not found.is_measured
    # cuBLAS in forward and backward, cuBLASLt for the biases in forward.
    assert found.library_bytes == 2 * 8519680 + 2**20


def test_inference_has_no_ways():
    found = answer(1000, mode="inference", optimizer=None)
    assert not found.fits
    assert found.ways == ()


def test_the_table_has_a_row_for_each_way():
    found = answer(int(0.6 * peak_of(BATCH)))
    table = found.table()
    assert list(table.way) == ["as it is", *ways(found)]
    assert table.allocated_peak.iloc[0] == found.needed
    assert table.reserved_peak.isna().all(), "on a CPU nothing is reserved"


def test_a_module_in_half_keeps_what_is_shared_and_the_original():
    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.BatchNorm1d(8))
    module[1].weight = module[0].weight
    before = copy.deepcopy(module.state_dict())
    twin = halved(module)
    assert twin[1].weight is twin[0].weight
    assert {p.dtype for p in twin.parameters()} == {torch.bfloat16}
    assert twin[2].num_batches_tracked.dtype is torch.int64
    assert twin[2].running_mean.dtype is torch.bfloat16
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_state_of_eight_bits_is_that_of_bitsandbytes():
    small, large = nn.Parameter(torch.zeros(64)), nn.Parameter(torch.zeros(100, 123))
    for parameter in (small, large):
        parameter.grad = torch.zeros_like(parameter)
    optimizer = AdamW8bit([small, large])
    optimizer.step()
    bytes_of = {key: value.nbytes for key, value in optimizer.state[large].items()}
    scales = 4 * math.ceil(100 * 123 / 256)
    assert bytes_of == {
        "qmap1": 1024,
        "qmap2": 1024,
        "state1": 100 * 123,
        "state2": 100 * 123,
        "absmax1": scales,
        "absmax2": scales,
    }
    assert {key: value.nbytes for key, value in optimizer.state[small].items()} == {
        "state1": 256,
        "state2": 256,
    }


@pytest.mark.parametrize(
    "kind", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad, torch.optim.RMSprop]
)
def test_an_optimizer_is_made_again_for_other_parameters(kind):
    first = kind([nn.Parameter(torch.zeros(2))], lr=0.3, weight_decay=0.2)
    again = like(first)([nn.Parameter(torch.zeros(3))])
    assert type(again) is kind
    assert (again.defaults["lr"], again.defaults["weight_decay"]) == (0.3, 0.2)


def test_inputs_are_resized_along_the_batch():
    inputs = {"ids": torch.tensor([[1], [2], [3]]), "scale": torch.ones(2), "n": 3}
    assert batch_of(inputs) == 3
    found = resized(inputs, 3, 5)
    assert found["ids"].tolist() == [[1], [2], [3], [1], [2]]
    assert found["scale"] is inputs["scale"]
    assert resized(inputs, 3, 2)["ids"].tolist() == [[1], [2]]
    large = resized(torch.empty(2, 2**20), 2, 10**6)
    assert (large.shape, large.device.type) == ((10**6, 2**20), "meta")
    with pytest.raises(ValueError, match="no tensor whose first dimension is the batch"):
        batch_of(3)


SCRIPT = """
import torch
from torch import nn

def fixed():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)), torch.randn(512, 64)

def with_batch(batch=256, width=64):
    module = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 8))
    return {"module": module, "inputs": torch.randn(batch, 64), "loss": nn.CrossEntropyLoss(),
            "target": torch.zeros(batch, dtype=torch.long),
            "optimizer": torch.optim.AdamW(module.parameters())}

def nothing():
    return 3

def misspelt(batch=4):
    return {"module": nn.Linear(8, 8), "inputs": torch.randn(batch, 8), "optimiser": 1}

def of_memprop():
    import memprop as mp
    return mp.MLP([4, 4]), torch.zeros(2, 4), torch.zeros(2)

def on_cuda(batch=8):
    module = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64).to("cuda:0")).cuda()
    return module, torch.randn(batch, 64, device="cuda") + torch.ones(64).to(torch.device("cuda"))

def fails(batch=4):
    raise KeyError("missing")
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / f"fits_{tmp_path.name.replace('-', '_')}.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def asked(capsys, *arguments):
    status = run(["fit", *map(str, arguments)])
    return status, *capsys.readouterr()


def test_the_command_exits_with_one_where_it_does_not_fit(script, capsys):
    status, out, err = asked(capsys, f"{script}:with_batch", "--budget", "1 GiB")
    assert status == 0
    assert "It fits into 1.0 GiB" in out
    assert "simulation 1 of at most 10: batch 256" in err
    status, out, _ = asked(capsys, f"{script}:with_batch", "--budget", "1 MiB")
    assert status == 1
    assert "It does not fit into 1.0 MiB" in out
    assert "What would help" in out


def test_the_command_has_a_document_for_machines(script, capsys):
    where = f"{script}:with_batch"
    budget = ("--budget", "200KiB", "--device", "cpu", "--json", "--batch", "512")
    status, out, _ = asked(capsys, where, "--arg", "width=32", *budget)
    document = json.loads(out)
    assert status == 1
    assert document["fits"] is False
    assert document["batch"] == 512
    assert document["reserved_peak"] is None
    assert document["allocated_peak"] > document["budget"] == 200 * 1024
    assert 0 < document["max_batch"] < 512
    assert document["simulations"] <= 10
    assert {"way", "allocated_peak", "fits", "how"} <= document["ways"][0].keys()


def test_inputs_are_resized_where_the_factory_takes_no_batch(script, capsys):
    status, out, _ = asked(capsys, f"{script}:fixed", "--budget", "300KiB", "--device", "cpu")
    assert status == 1
    assert "batch 512" in out
    largest = int(out.partition("Largest batch: ")[2].partition(" ")[0].replace(",", ""))
    module = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))

    def peak(batch):
        return mpt.simulate(module, torch.empty(batch, 64), warmup=1).peak

    assert peak(largest) <= 300 * 1024 < peak(largest + 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to go to")
def test_a_factory_may_move_its_model_to_a_gpu_that_is_not_there(script, capsys):
    status, out, err = asked(capsys, f"{script}:on_cuda", "--budget", "1 GiB", "--json")
    assert status == 0, err
    assert json.loads(out)["device"] == "cuda:0"


def test_large_tensors_of_a_factory_have_no_memory():
    def huge(batch):
        return nn.Linear(2**20, 2**20), torch.randn(batch, 2**20)

    found = mpt.fit(huge, "30 TiB", batch=8, loss=loss, optimizer=torch.optim.AdamW)
    assert found.asked.peak > 4 * 2**42, "parameters, gradients and two moments, of 4 TiB each"
    assert found.fits


def test_a_factory_that_needs_its_numbers_has_them():
    def looks(batch):
        scale = float(torch.full((2**22,), 2.0)[0])
        return nn.Linear(4, int(scale)), torch.randn(batch, 4)

    assert mpt.fit(looks, "1 MiB", batch=8, loss=loss, device="cpu").fits


@pytest.mark.parametrize(
    ("name", "options", "status", "message"),
    [
        ("nothing", (), 2, "returned a int: memprop fit is for modules of PyTorch"),
        ("of_memprop", (), 2, "memprop fit is for modules of PyTorch"),
        ("misspelt", (), 2, "unknown entry of the factory's dict 'optimiser': did you mean 'opt"),
        ("fails", (), 1, "KeyError: 'missing'"),
        ("fixed", ("--gpu", "h10"), 2, "unknown GPU 'h10': did you mean 'h100'?"),
        ("fixed", ("--settings", "expandable:True"), 2, "unknown setting"),
        ("fixed", ("--budget", "many"), 2, "many"),
        ("fixed", ("--batch", "0"), 2, "batch must be a positive integer, got 0"),
        ("fixed", ("--device", "tpu9"), 2, "tpu9"),
    ],
)
def test_what_goes_wrong_is_one_line(script, capsys, name, options, status, message):
    got, out, err = asked(capsys, f"{script}:{name}", *options)
    assert (got, out) == (status, "")
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
