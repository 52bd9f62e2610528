"""A step on several devices has a trace for each: offloaded and pinned memory is seen."""

from dataclasses import replace

import asks_for_torch  # noqa: F401
import pytest
import torch
from torch import nn
from torch.autograd.graph import save_on_cpu

import memprop as mp
import memprop.torch as mpt
from memprop.errors import UnknownNameError
from memprop.report.step import write_step
from memprop.torch.record.peaks import CudaPeaks

BATCH, WIDTH = 512, 256
ACTIVATION = BATCH * WIDTH * 4


class Offloads(nn.Module):
    """Keeps what its first layer saves on the CPU."""

    def __init__(self, pin_memory=False):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.pin_memory = pin_memory

    def forward(self, x):
        with save_on_cpu(self.pin_memory):
            hidden = torch.tanh(self.first(x))
        return self.second(hidden)


class Stays(Offloads):
    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def simulated(module, **options):
    return mpt.simulate(module, torch.randn(BATCH, WIDTH), device="cuda", **options)


def test_what_is_offloaded_is_on_the_cpu_and_not_on_the_gpu():
    step, plain = simulated(Offloads()), simulated(Stays())
    assert step.devices == ("cuda:0", "cpu")
    on_cpu = step.on("cpu")
    # The input of the first layer, and the result of tanh, are copied.
    assert on_cpu.peak_by_category()["activation"] == on_cpu.peak == 2 * ACTIVATION
    assert {one.device for one in on_cpu.variables} == {"cpu"}
    assert {one.device for one in step.variables} == {"cuda:0"}
    # On the GPU tanh's result stays for the second layer; the input is the program's own.
    assert step.saved_bytes == plain.saved_bytes - ACTIVATION
    assert plain.devices == ("cuda:0",)


def test_what_is_offloaded_may_be_pinned():
    step = simulated(Offloads(pin_memory=True))
    assert step.devices == ("cuda:0", "pinned")
    assert step.on("pinned").peak == 2 * ACTIVATION
    assert step.peak == simulated(Offloads()).peak


def test_a_step_that_offloads_asks_the_gpu_for_no_more():
    """Requests go with the events of the GPU's own trace."""
    step = simulated(Offloads())
    assert step.requests.event.max() < len(step.events)
    assert step.on("cpu").requests is None
    assert step.on("cpu").allocated_peak is None
    table = step.segments(step.peak_event)
    in_use = table[table.state == "allocated"]
    assert set(in_use.variable) >= {
        step.variables[one.variable].name for one in step.buffers_at(step.peak_event)
    }
    assert step.allocated_peak - step.peak <= step.requests.kept_bytes + 512 * len(in_use)


def test_pinned_memory_is_a_place_of_its_own():
    class Pins(nn.Linear):
        def forward(self, x):
            staged = torch.empty(x.shape, pin_memory=True)
            staged.copy_(x)
            again = torch.randn(1000).pin_memory()
            assert staged.is_pinned()
            assert again.is_pinned()
            assert again.pin_memory() is again
            assert not x.is_pinned()
            with pytest.raises(RuntimeError, match="can be pinned"):
                x.pin_memory()
            return super().forward(staged.to("cuda", non_blocking=True))

    step = simulated(Pins(WIDTH, WIDTH))
    assert step.devices == ("cuda:0", "pinned", "cpu")
    assert step.on("pinned").peak == ACTIVATION + 4000
    assert step.on("cpu").peak == 4000


def test_the_count_of_steps_of_adam_is_on_the_cpu():
    step = simulated(Stays(), optimizer=torch.optim.AdamW, warmup=1)
    assert step.on("cpu").peak_by_category()["optimizer_state"] == 4 * 4
    assert simulated(Stays()).devices == ("cuda:0",)


def test_devices_are_saved(tmp_path):
    step = simulated(Offloads())
    step.save(tmp_path / "step.json.gz")
    loaded = mp.Trace.load(tmp_path / "step.json.gz")
    assert loaded == step
    assert loaded.devices == step.devices
    assert loaded.on("cpu") == step.on("cpu")
    assert loaded.on("cpu").about == step.on("cpu").about
    assert loaded != simulated(Stays())


def test_a_device_on_which_nothing_lives_is_named():
    step = simulated(Offloads())
    assert step.on("cuda:0") is step
    with pytest.raises(UnknownNameError, match=r"'cuda'.*did you mean 'cuda:0'"):
        step.on("cuda")
    assert mp.simulate(mp.MLP([4, 4]), 2).devices == ("cpu",)


def test_the_page_shows_each_device(tmp_path):
    write_step(simulated(Offloads()), tmp_path)
    page = (tmp_path / "step.html").read_text()
    assert "On which device" in page
    assert "Offloads, on cpu" in page


def test_a_step_that_was_run_on_cuda_has_what_its_allocator_counted(monkeypatch):
    counted = {"reset": 0}
    monkeypatch.setattr(
        torch.cuda, "reset_peak_memory_stats", lambda device: counted.update(reset=1)
    )
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1000)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 2000)
    found = CudaPeaks(torch.device("cuda", 0)).since()
    assert counted["reset"] == 1
    step = mp.simulate(mp.MLP([4, 4]), 2)
    step = replace(step, about={**step.about, **found})
    assert (step.allocated_peak, step.reserved_peak) == (1000, 2000)
    assert CudaPeaks(torch.device("cpu")).since() == {}
    assert mpt.trace(nn.Linear(2, 2), torch.ones(2, 2)).allocated_peak is None


def test_what_a_function_makes_for_itself_is_where_its_operands_are():
    """The mask of causal attention by its formula, which PyTorch makes of nothing."""

    class Causal(nn.Module):
        def forward(self, q):
            with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
                seen = nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)
            return seen.sum() + torch.zeros(5).sum().cuda()  # and this the program makes on the CPU

    step = mpt.simulate(Causal(), torch.randn(1, 2, 32, 8, requires_grad=True), device="cuda")
    there = {one.name: one.device for one in step.variables}
    assert there["tril"] == there["where"] == "cuda:0"
    (mask,) = (one for one in step.variables if one.name == "where")
    assert mask.bytes == 32 * 32 * 4
    assert [one.name for one in step.on("cpu").variables][:1] == ["zeros"]


def test_what_hooks_make_in_a_backward_pass_is_where_they_make_it():
    class Hooked(nn.Linear):
        def forward(self, x):
            made = super().forward(x)
            made.register_hook(lambda gradient: (torch.zeros(1000), gradient)[1])
            return made

    step = mpt.simulate(Hooked(8, 8), torch.randn(4, 8), device="cuda")
    assert step.devices == ("cuda:0", "cpu")
    assert step.on("cpu").peak == 4000


class MakesMore(torch.autograd.Function):
    """Makes tensors where its operands are, forward and backward."""

    @staticmethod
    def forward(ctx, x):
        return x * torch.ones(x.shape, device=x.device)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.ones(gradient.shape, device=gradient.device)


def test_a_function_of_the_programs_makes_tensors_on_cuda_in_its_backward_too():
    class Model(nn.Linear):
        def forward(self, x):
            return MakesMore.apply(super().forward(x))

    step = mpt.simulate(Model(8, 8), torch.randn(4, 8), device="cuda")
    assert step.devices == ("cuda:0",)
