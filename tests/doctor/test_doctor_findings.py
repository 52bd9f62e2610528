"""Each finding says what is so, and what to do about it."""

import psutil
import pytest

from memprop.doctor import allocator, extras, kernels, memory, pages, threads, witnesses
from memprop.doctor.finding import STATUSES, Finding
from memprop.doctor.known_step import STEP_BYTES
from memprop.machine.blas import Blas
from memprop.machine.cgroup import Allowance
from memprop.machine.check import Check, Rates
from memprop.probes import WITNESSES, kernel

MIB = 2**20


def rates(asked, rate, core_type=None):
    return Rates(asked, core_type or asked, {"float32": float(rate), "float64": rate / 2})


def blas(core_type="Haswell", threads_used=2, name="openblas"):
    return Blas(name, "0.3.31", core_type, threads_used, "libopenblas.so")


def of_kernels(used, check, *, reason="", **variables):
    return list(kernels.findings(blas(used), check, reason, variables))


# BLAS

SLOW = Check(rates("", 100, "Haswell"), (rates("SkylakeX", 185),))
FAST = Check(rates("", 185, "SkylakeX"), (rates("Haswell", 100),))


def test_kernels_that_the_library_does_not_know_to_take_are_recommended():
    verdict = of_kernels("Haswell", SLOW)[-1]
    assert verdict.status == "notice"
    assert "takes Haswell, and SkylakeX is 1.85 times as fast" in verdict.says
    assert verdict.do.startswith("export OPENBLAS_CORETYPE=SkylakeX")


def test_a_variable_that_slows_the_library_down_is_to_be_unset():
    verdict = of_kernels("Haswell", FAST, OPENBLAS_CORETYPE="Haswell")[-1]
    assert verdict.status == "notice"
    assert "OPENBLAS_CORETYPE=Haswell is set, and SkylakeX is 1.85 times as fast" in verdict.says
    assert verdict.do == "unset OPENBLAS_CORETYPE"


def test_a_variable_that_was_never_measured_is_told():
    verdict = of_kernels("Nehalem", SLOW, OPENBLAS_CORETYPE="Nehalem")[-1]
    assert "was not measured; the fastest here is SkylakeX" in verdict.says
    assert verdict.do == "export OPENBLAS_CORETYPE=SkylakeX"


def test_the_best_kernels_are_good_whoever_chose_them():
    assert of_kernels("SkylakeX", FAST)[-1].status == "good"
    assert of_kernels("SkylakeX", SLOW, OPENBLAS_CORETYPE="SkylakeX")[-1].status == "good"


def test_every_measured_rate_is_there():
    text = " ".join(finding.says for finding in of_kernels("Haswell", SLOW))
    assert "Haswell (the library's own choice): 100 in float32, 50 in float64" in text
    assert "SkylakeX: 185 in float32, 92 in float64" in text


def test_kernels_that_crash_are_told_and_those_that_run_as_others_are_not():
    crashed = Rates("SkylakeX", "", {}, "its process crashed: SIGILL")
    alias = Rates("Zen", "Haswell", {}, "this library takes Haswell for it")
    found = of_kernels("Haswell", Check(rates("", 100, "Haswell"), (crashed, alias)))
    assert [f.says for f in found if f.status == "notice"] == [
        "SkylakeX could not be measured: its process crashed: SIGILL."
    ]
    assert not any("Zen" in finding.says for finding in found)


def test_where_there_is_no_choice_the_library_is_still_measured():
    found = of_kernels("", Check(rates("", 100, "armv8")), reason="this CPU is aarch64")
    assert "no core type to choose: this CPU is aarch64" in found[-1].says
    assert {finding.status for finding in found} == {"good"}


def test_products_that_cannot_be_measured_are_a_problem():
    found = of_kernels("Haswell", Check(Rates("", failure="its process ended with status 1")))
    assert found[-1].status == "problem"


def test_a_check_that_is_off_is_a_notice():
    (_, off) = of_kernels("Haswell", None)
    assert "MEMPROP_BLAS is off" in off.says
    assert "--fresh" in off.do


# Threads


@pytest.mark.parametrize(
    ("used", "cores", "quota", "status", "do"),
    [
        (2, 2, None, "good", ""),
        (1, 1, 1.0, "good", ""),
        (8, 8, 2.5, "notice", "export OPENBLAS_NUM_THREADS=2"),
        (8, 8, 0.5, "notice", "export OPENBLAS_NUM_THREADS=1"),
        (1, 4, None, "notice", "export OPENBLAS_NUM_THREADS=4"),
    ],
)
def test_threads_should_be_as_many_as_the_cores_that_are_granted(used, cores, quota, status, do):
    granted, of_blas = threads.findings(blas(threads_used=used), cores, 8, quota)
    assert (of_blas.status, of_blas.do) == (status, do)
    assert f"may use {cores} of 8 cores" in granted.says


def test_each_library_has_its_own_variable():
    for name, variable in (("mkl", "MKL_NUM_THREADS"), ("flexiblas", "OMP_NUM_THREADS")):
        _, found = threads.findings(blas(name=name, threads_used=1), 2, None, None)
        assert found.do == f"export {variable}=2"
    _, unknown = threads.findings(Blas("accelerate", ""), 2, 2, None)
    assert "does not say" in unknown.says


# Huge pages


@pytest.mark.parametrize(
    ("text", "variables", "statuses"),
    [
        ("always [madvise] never\n", {}, ["good", "good"]),
        ("always [madvise] never\n", {"NUMPY_MADVISE_HUGEPAGE": "0"}, ["good", "notice"]),
        ("[always] madvise never\n", {}, ["notice"]),
        ("always madvise [never]\n", {}, ["good"]),
        (None, {}, ["notice"]),
    ],
)
def test_huge_pages_are_read_from_the_kernel(tmp_path, monkeypatch, text, variables, statuses):
    file = tmp_path / "enabled"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(pages, "_SETTING", file)
    assert [finding.status for finding in pages.findings(variables)] == statuses


# The allocator


@pytest.fixture
def maps(tmp_path, monkeypatch):
    """The libraries that are mapped into this process."""
    file = tmp_path / "maps"
    monkeypatch.setattr(allocator, "_MAPS", file)
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
    return file


def test_glibc_without_settings_is_good(maps):
    maps.write_text(
        "7f00-7f01 r-xp 00000000 08:01 42  /usr/lib/libc.so.6\n7f02-7f03 rw-p 0 0:0 0\n"
    )
    assert [finding.status for finding in allocator.findings({})] == ["good", "good"]


def test_another_malloc_is_seen_where_it_is_mapped(maps):
    maps.write_text("7f00-7f01 r-xp 00000000 08:01 42                 /opt/a b/libjemalloc.so.2\n")
    library, _ = allocator.findings({})
    assert library.status == "notice"
    assert library.says.startswith("libjemalloc.so.2")


def test_another_malloc_is_seen_where_it_is_preloaded(maps):
    library, _ = allocator.findings({"LD_PRELOAD": "/lib/a.so:/lib/libtcmalloc_minimal.so.4"})
    assert library.says.startswith("libtcmalloc_minimal.so.4")


def test_a_c_library_without_malloc_trim_is_told(maps, monkeypatch):
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    library, _ = allocator.findings({})
    assert library.status == "notice"


def test_settings_of_malloc_are_told_but_those_that_trials_overrule_do_no_harm(maps):
    overruled = {name: "1" for name in kernel.ENVIRONMENT if name.startswith("MALLOC")}
    _, found = allocator.findings({**overruled, "HOME": "/"})
    assert found.status == "good"
    assert all(name in found.says for name in overruled)
    tunables = "glibc.malloc.arena_max=1"
    _, found = allocator.findings({"MALLOC_ARENA_MAX": "1", "GLIBC_TUNABLES": tunables})
    assert found.status == "notice"
    assert found.do.startswith("unset GLIBC_TUNABLES MALLOC_ARENA_MAX")


# Witnesses


def of_witness(name, seen):
    (found,) = witnesses.findings({name: seen})
    return found


@pytest.mark.parametrize(
    ("name", "off", "status"),
    [
        ("tracemalloc", 16 * 1024, "good"),
        ("tracemalloc", MIB, "notice"),
        ("kernel", 512 * 1024, "good"),
        ("kernel", -MIB, "notice"),
        ("psutil", -3 * MIB, "good"),
        ("psutil", -STEP_BYTES, "notice"),
    ],
)
def test_a_witness_is_good_if_it_sees_the_step(name, off, status):
    assert of_witness(name, STEP_BYTES + off).status == status


def test_a_witness_that_fails_is_a_problem_and_one_that_cannot_is_a_notice(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert of_witness("psutil", "OSError: no").status == "problem"
    assert "only Linux" in of_witness("kernel", None).says
    assert of_witness("psutil_uss", None).status == "notice"


def test_every_witness_is_really_tried():
    seen = witnesses.seen_by_all()
    assert set(seen) == set(WITNESSES)
    assert of_witness("tracemalloc", seen["tracemalloc"]).status == "good"


def test_a_trial_of_witnesses_that_does_not_start_is_a_problem(monkeypatch):
    monkeypatch.setattr(witnesses, "_MODULE", "memprop.no_such_module")
    seen = witnesses.seen_by_all()
    assert set(seen) == set(WITNESSES)
    assert {finding.status for finding in witnesses.findings(seen)} == {"problem"}


# Memory and extras


@pytest.mark.parametrize(
    ("allowance", "status", "part"),
    [
        (None, "good", "No limit"),
        (Allowance(1024 * MIB, 512 * MIB), "good", "limited to 1.0 GiB, of which 512.0 MiB"),
        (Allowance(1024 * MIB, 1000 * MIB), "notice", "limited to 1.0 GiB"),
    ],
)
def test_the_limit_of_a_container_is_told(monkeypatch, allowance, status, part):
    monkeypatch.setattr(memory, "memory_allowance", lambda: allowance)
    container, free, _ = memory.findings()
    assert container.status == status
    assert part in container.says
    assert "free on this machine" in free.says


def test_swap_and_little_memory_are_noticed(monkeypatch):
    nearly_full = psutil.virtual_memory()._replace(available=MIB, total=1024 * MIB)
    swapping = psutil.swap_memory()._replace(used=5 * MIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: nearly_full)
    monkeypatch.setattr(psutil, "swap_memory", lambda: swapping)
    _, free, swap = memory.findings()
    assert (free.status, swap.status) == ("notice", "notice")
    assert "5.0 MiB" in swap.says


def test_extras_are_told_with_their_version_or_how_to_get_them(monkeypatch):
    monkeypatch.setattr(extras, "EXTRAS", {"own": "numpy", "torch": "no-such-distribution"})
    there, absent = extras.findings()
    assert there.status == "good"
    assert absent.do.startswith('pip install "memprop[torch]"')


def test_statuses_are_in_order_of_gravity():
    assert sorted(STATUSES, key=STATUSES.index) == ["good", "notice", "problem"]
    assert Finding("a", "good", "b.").do == ""
