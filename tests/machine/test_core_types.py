"""Only what a CPU can run is tried, and where there is no choice that is said."""

import pytest
from machine_cases import AVX2, AVX512, OPENBLAS, cpu

from memprop.machine import cpu as cpu_module
from memprop.machine.blas import Blas, _numpys, blas_of_numpy
from memprop.machine.core_types import nothing_to_choose, runnable
from memprop.machine.cpu import this_cpu, usable_cores


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"avx"}, ()),
        (AVX2, ("Haswell", "Zen")),
        (AVX2 | {"avx512f"}, ("Haswell", "Zen")),  # a CPU with some of AVX-512 only
        (AVX512, ("Haswell", "Zen", "SkylakeX")),
        (AVX512 | {"avx512_bf16"}, ("Haswell", "Zen", "SkylakeX", "Cooperlake")),
    ],
)
def test_a_core_type_is_tried_only_where_the_cpu_has_all_its_instructions(flags, names):
    assert runnable(cpu(flags)) == names


def test_sapphire_rapids_needs_its_tiles():
    tiles = {"avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16"}
    assert runnable(cpu(AVX512 | tiles))[-1] == "SapphireRapids"
    assert "SapphireRapids" not in runnable(cpu(AVX512 | tiles - {"amx_tile"}))


@pytest.mark.parametrize(
    ("machine", "blas", "reason"),
    [
        (cpu(), Blas("mkl", "2024.0"), "NumPy uses mkl"),
        (cpu({"asimd"}, "aarch64"), OPENBLAS, "for x86-64 only, this CPU is aarch64"),
        (cpu(()), OPENBLAS, "does not tell"),
        (cpu({"avx"}), OPENBLAS, "no AVX2"),
    ],
)
def test_where_there_is_no_choice_that_is_said(machine, blas, reason):
    assert reason in nothing_to_choose(machine, blas)


def test_with_openblas_on_avx2_there_is_a_choice():
    assert nothing_to_choose(cpu(AVX2), OPENBLAS) == ""


def test_the_cpu_is_read_from_the_first_core(tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    file.write_text("model name\t: First: one\nflags\t\t: avx avx2\n\nmodel name\t: Second\n")
    monkeypatch.setattr(cpu_module, "_CPUINFO", file)
    assert (this_cpu().model, this_cpu().flags) == ("First: one", {"avx", "avx2"})


def test_without_proc_nothing_is_known_of_its_instructions(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu_module, "_CPUINFO", tmp_path / "absent")
    assert this_cpu().flags == frozenset()
    assert this_cpu().cores == usable_cores() >= 1


def test_numpys_own_library_is_found_among_others():
    found = blas_of_numpy()
    assert found.name != "unknown"
    first = {"filepath": "/lib/libmkl_rt.so"}
    wheel = {"filepath": "/site-packages/numpy.libs/libscipy_openblas64_.so"}
    mac = {"filepath": "/site-packages/numpy/.dylibs/libscipy_openblas64_.dylib"}
    scipys = {"filepath": "/site-packages/scipy.libs/libscipy_openblas.so"}
    assert _numpys([first, scipys, wheel]) is wheel
    assert _numpys([scipys, mac]) is mac
    assert _numpys([first, scipys]) is first
    assert _numpys([]) is None
