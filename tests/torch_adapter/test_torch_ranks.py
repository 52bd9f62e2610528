"""Steps of one rank of many: predicted on one machine, against ranks that are really there."""

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import asks_for_torch  # noqa: F401
import pytest
import torch
import torch_oracles as oracles
import torch_ranks as ranks
from torch import distributed, nn
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker

import memprop.torch as mpt
from memprop.errors import InvalidTypeError, InvalidValueError, PhaseError

pytestmark = [
    pytest.mark.skipif(
        not distributed.is_gloo_available() or not hasattr(os, "fork"),
        reason="needs processes that gloo connects",
    ),
    pytest.mark.filterwarnings("ignore:FSDP2-wrapped module .* returned a view:UserWarning"),
]
LONGEST = 120
"""Seconds that real ranks may take. They take 15."""
IN_BUCKETS = ("ddp", "ddp in buckets")
SCRATCH_OF_GLOO = ("fsdp mixed",)
"""Cases whose peak is where gloo has a buffer for itself in a reduce-scatter."""
TRACKED = [
    *((2, case) for case in ranks.CASES if case.startswith("fsdp") and " of " not in case),
    *((4, case) for case in ("fsdp to 2", "fsdp of replicas", "fsdp of tensor parallel")),
]
"""How many ranks run which cases under FSDPMemTracker."""


@pytest.fixture(scope="module")
def real():
    """What each of so many real ranks measures; they run once."""
    return functools.cache(_run)


def _run(count):
    script = Path(ranks.__file__)
    process = subprocess.Popen(
        [sys.executable, str(script), str(count)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        pytest.fail(f"{count} ranks took more than {LONGEST} s")
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize(("count", "case"), [(n, case) for n in ranks.RUN for case in ranks.RUN[n]])
def test_a_pretended_rank_is_predicted_as_the_real_one_is_traced(real, count, case):
    for rank in (0, count - 1):
        with mpt.pretend_ranks(count, rank):
            trace = mpt.simulate(ranks.build(case, "meta"), ranks.samples())
        assert ranks.facts(trace) == real(count)[rank][case]["ledger"]


@pytest.mark.parametrize("case", ranks.CASES)
def test_a_module_with_numbers_is_predicted_as_one_without(case):
    with mpt.pretend_ranks(2):
        steps = [mpt.simulate(ranks.build(case, on), ranks.samples()) for on in ("cpu", "meta")]
        steps.append(mpt.trace(ranks.build(case), ranks.samples()))
    assert ranks.facts(steps[0]) == ranks.facts(steps[1]) == ranks.facts(steps[2])


@pytest.mark.parametrize("case", ranks.WARM)
def test_the_second_step_is_predicted_too(real, case):
    with mpt.pretend_ranks(2):
        trace = mpt.simulate(
            ranks.build(case, "meta"), ranks.samples(), optimizer=torch.optim.AdamW, warmup=1
        )
    assert ranks.facts(trace) == real(2)[0][case]["warm"]


@pytest.mark.parametrize("case", ranks.RUN[ranks.ALLOCATED])
def test_the_ledger_of_a_real_rank_is_its_allocator(real, case):
    for measured in real(ranks.ALLOCATED):
        ledger, allocator = measured[case]["ledger"]["peak"], measured[case]["allocator"]
        if case in SCRATCH_OF_GLOO:
            assert allocator >= ledger
        else:
            buckets = bucket_bytes() if case in IN_BUCKETS else 0  # made with the module
            assert allocator + buckets == ledger


def bucket_bytes():
    return sum(p.numel() * p.element_size() for p in ranks.mlp("meta").parameters())


@pytest.mark.parametrize(("count", "case"), TRACKED)
def test_the_tracker_of_pytorch_finds_the_same_peak(count, case):
    with mpt.pretend_ranks(count):
        trace = mpt.simulate(ranks.build(case), ranks.samples())
        at_peak = tracked(ranks.build(case))
    found = trace.peak_by_category()
    assert at_peak["Total"] == trace.peak
    assert at_peak["Inputs"] == found["input"]
    assert at_peak["All Gather"] + at_peak["Reduce Scatter"] == found["communication"]


def tracked(module):
    """What FSDPMemTracker finds at the peak, by the words that it has for it."""
    inputs = ranks.samples()
    tracker = FSDPMemTracker(module)
    tracker.track_inputs((inputs,))
    with tracker:
        held = oracles.step(module, inputs)
        del held
    (found,) = tracker.get_tracker_snapshot("peak").values()
    return {getattr(kind, "value", kind): size for kind, size in found.items()}


def test_the_events_of_a_sharded_step_add_up():
    with mpt.pretend_ranks(4):
        table = mpt.trace(ranks.build("fsdp"), ranks.samples()).timeline()
    signed = table["bytes"] * table["kind"].map({"allocate": 1, "free": -1, "read": 0})
    assert (signed.cumsum() == table["live_bytes"]).all()
    assert table["communication"].max() > 0


def test_shards_shrink_with_the_ranks_and_buffers_do_not():
    held = {}
    for count in (1, 2, 8, 64):
        with mpt.pretend_ranks(count):
            trace = mpt.simulate(ranks.build("fsdp", "meta"), ranks.samples())
        held[count] = trace.persistent_bytes
    whole = bucket_bytes()
    assert held[1] == whole
    assert held[2] == whole // 2
    # A head of ten rows has one on a rank of 64, as blocks have two; each has its bias.
    assert held[64] == 4 * (3 * (2 * 64 + 2 + 128 + 1) + 64 + 1)


def test_gradients_in_buckets_are_gradients_and_copies_of_them_are_not():
    found = {}
    for case in ("ddp", "ddp in buckets"):
        with mpt.pretend_ranks(2):
            trace = mpt.simulate(ranks.build(case), ranks.samples())
        live = trace.timeline().iloc[-1]
        found[case] = (live["parameter_gradient"], live["communication"])
    whole = bucket_bytes()
    assert found == {"ddp": (whole, whole), "ddp in buckets": (whole, 0)}


@pytest.mark.parametrize("case", ["ddp", "fsdp", "fsdp mixed", "tensor parallel"])
def test_a_simulation_leaves_a_sharded_module_as_it_was(case):
    with mpt.pretend_ranks(2):
        module = ranks.build(case)
        before = {n: (id(p), p.detach().clone()) for n, p in module.named_parameters()}
        cold = ranks.facts(mpt.simulate(module, ranks.samples()))
        assert {n: id(p) for n, p in module.named_parameters()} == {
            n: number for n, (number, _) in before.items()
        }
        assert all(p.grad is None for p in module.parameters())
        assert ranks.facts(mpt.trace(module, ranks.samples())) == cold
        module.zero_grad()
        warm = ranks.facts(mpt.simulate(module, ranks.samples()))
        assert ranks.facts(mpt.trace(module, ranks.samples())) == warm


def test_the_group_is_gone_after_the_block_whatever_happens_in_it():
    with mpt.pretend_ranks(8, rank=3):
        assert (distributed.get_world_size(), distributed.get_rank()) == (8, 3)
    assert not distributed.is_initialized()
    with pytest.raises(ZeroDivisionError), mpt.pretend_ranks(8):
        _ = 1 / 0
    assert not distributed.is_initialized()
    with mpt.pretend_ranks(2):
        distributed.destroy_process_group()
    assert not distributed.is_initialized()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), InvalidValueError, "world_size must be a positive integer, got 0"),
        (("2",), InvalidTypeError, "world_size must be a positive integer, got '2'"),
        ((4, -1), InvalidValueError, "rank must be"),
        ((4, 4), InvalidValueError, r"rank must be below world_size \(4\), got 4"),
        ((4, None), InvalidTypeError, "rank must be"),
    ],
)
def test_numbers_that_are_none_are_refused(arguments, error, message):
    with pytest.raises(error, match=message), mpt.pretend_ranks(*arguments):
        pass
    assert not distributed.is_initialized()


def test_a_second_group_is_refused():
    with mpt.pretend_ranks(2):
        with pytest.raises(PhaseError, match=r"process group already \(fake, 2 ranks\)"):
            mpt.pretend_ranks(2).__enter__()
        assert distributed.get_world_size() == 2


def test_a_collective_of_the_user_is_one_of_the_step():
    class Summed(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            out = self.linear(x)
            of_all = [torch.empty(2, 8) for _ in range(4)]
            distributed.all_gather(of_all, out.detach())
            return out * torch.cat(of_all).mean()

    with mpt.pretend_ranks(4):
        traces = [run(Summed(), torch.randn(2, 8)) for run in (mpt.trace, mpt.simulate)]
    for trace in traces:
        assert trace.timeline()["communication"].max() == 4 * 4 * 16
    assert traces[0].peak == traces[1].peak


@pytest.mark.parametrize("case", ["ddp", "fsdp", "tensor parallel"])
def test_a_module_that_is_spread_is_not_pretended_to_be_on_a_gpu(case):
    with mpt.pretend_ranks(2):
        module = ranks.build(case, "meta")
        with pytest.raises(InvalidValueError, match="leave device out"):
            mpt.simulate(module, ranks.samples(), device="cuda")
