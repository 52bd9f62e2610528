"""A profile of code for PyTorch or JAX says that it sees nothing of their memory."""

import gc
import sys
import tracemalloc
from types import ModuleType

import numpy as np
import pytest

import memprop as mp


class Tensor:
    """What a tensor looks like from outside."""


Tensor.__module__ = "torch"


class Parameter(Tensor):
    pass


@pytest.fixture
def loaded(monkeypatch):
    """A module named torch, be PyTorch there or not."""
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))


def test_tensors_made_in_a_phase_are_told_once(loaded):
    prof, kept = mp.Profiler(), []

    @prof.phase("forward")
    def forward():
        kept.extend([Parameter(), np.ones(1000)])

    with prof.phase("step"):
        with pytest.warns(UserWarning, match="PyTorch was at work in the phase 'step/forward'"):
            forward()
        with prof.phase("backward"):  # told already: warnings are errors here
            kept += [Tensor(), np.ones(10)]
    assert repr(prof) == "<Profiler open, 3 phases, 0 events, not of PyTorch>"
    for table in (prof.phases(), prof.sites()):
        assert table.attrs["unseen"] == "PyTorch"
    assert prof.trace.about["unseen"] == "PyTorch"
    prof.close()
    assert "Memory of PyTorch is not in these tables." in prof._repr_html_()


def test_the_warning_points_to_the_user_and_names_what_to_use(loaded):
    prof, phase = mp.Profiler(), []
    with pytest.warns(UserWarning, match="PyTorch") as told, prof.phase("forward"):
        phase.append(Tensor())
    assert str(told[0].message).endswith("For that, use memprop.torch.trace")
    assert told[0].filename == __file__
    prof.close()


def test_tensors_made_before_or_between_phases_are_no_reason_to_warn(loaded):
    """Warnings are errors here."""
    before = [Tensor() for _ in range(10)]
    tracemalloc.start()
    try:
        before += [Tensor()]
        with mp.Profiler() as prof:
            for _ in range(2):
                with prof.phase("forward"):
                    x = np.ones(100)
                before.append(Tensor())
                with prof.phase("backward"):
                    x = x * 2
            assert repr(prof) == "<Profiler open, 4 phases, 0 events>"
            assert "unseen" not in prof.trace.about
            assert "unseen" not in prof.phases().attrs
    finally:
        tracemalloc.stop()


def test_a_tensor_in_the_place_of_a_dead_one_is_new(loaded):
    prof, kept = mp.Profiler(), [Tensor()]

    @prof.phase("forward")
    def forward():
        kept.clear()
        kept.append(Tensor())

    with pytest.warns(UserWarning, match="PyTorch"):
        forward()
    prof.close()


def test_a_class_that_is_called_like_it_is_another():
    class Tensor:
        pass

    with mp.Profiler() as prof, prof.phase("forward"):
        kept = [Tensor(), np.ones(10)]
    assert prof.trace.peak
    assert len(kept) == 2


def test_looking_is_not_measured(loaded):
    """All objects are listed to look for tensors: a list that no peak may hold."""
    with mp.Profiler() as prof:
        with prof.phase("step"):
            with prof.phase("forward"):
                x = np.ones(1000)
            with prof.phase("backward"):
                x = x * 2
        peaks = prof.phases()["traced_peak_bytes"]
    assert peaks.max() < 4 * len(gc.get_objects())  # 8 bytes each, in such a list


def test_pytorch_is_noticed_also_where_no_tensor_is_left(torch):
    layer, x, prof = torch.nn.Linear(8, 8), torch.ones(4, 8), mp.Profiler()
    with pytest.warns(UserWarning, match=r"memprop\.torch\.trace"), prof.phase("forward"):
        layer(x).sum().item()
    prof.close()


def test_pytorch_is_noticed_also_where_nothing_is_differentiated(torch):
    prof = mp.Profiler()
    with pytest.warns(UserWarning, match="PyTorch was at work"), prof.phase("forward"):
        kept = torch.ones(3)
    assert len(kept) == 3
    prof.close()


def test_pytorch_that_is_only_there_is_no_reason_to_warn(torch):
    layer = torch.nn.Linear(8, 8)
    with mp.Profiler() as prof:
        with prof.phase("forward"):
            h = np.ones((100, 8))
        assert layer.weight.shape == (8, 8)
    assert prof.phases()["exit_bytes"].tolist() == [h.nbytes]


def test_jax_is_noticed(jax):
    prof = mp.Profiler()
    x = jax.numpy.ones(10)
    with prof.phase("before"):
        h = np.ones(10)
    with pytest.warns(UserWarning, match=r"JAX was .* use memprop\.jax"), prof.phase("forward"):
        y = jax.numpy.tanh(x)
    assert prof.trace.about["unseen"] == "JAX"
    assert len(y) == len(h)
    prof.close()
