"""Every witness sees a step of known size."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from memprop.errors import UnknownNameError
from memprop.probes import WITNESSES, kernel, traced

MIB = 2**20


def holding(size_bytes, seconds=0.0):
    """A step that touches two buffers, frees one, and holds the other for a while."""

    def step():
        first = np.ones(size_bytes // 2, dtype=np.uint8)
        second = np.ones(size_bytes // 2, dtype=np.uint8)
        time.sleep(seconds)
        del first
        return second.sum()

    return step


@pytest.mark.parametrize("size", [MIB, 8 * MIB, 40 * MIB])
def test_tracemalloc_sees_every_byte(size):
    assert 0 <= traced.measure(holding(size)) - size <= 16 * 1024 + size // 1000


def test_numpy_has_a_domain_of_its_own():
    import tracemalloc

    tracemalloc.start()
    try:
        before = traced.numpy_bytes()
        array = np.ones(3 * MIB, dtype=np.uint8)
        text = "x" * MIB  # Python's, not NumPy's
        assert traced.numpy_bytes() - before == array.nbytes
        assert len(text) == MIB
    finally:
        tracemalloc.stop()


KERNEL = """
import json, sys
sys.path.insert(0, {folder!r})
from test_probes import holding
from memprop.probes import kernel
print(json.dumps([kernel.measure(holding(size)) for size in {sizes}]))
"""


def test_the_kernel_sees_it_within_half_a_percent():
    if reason := kernel.available():
        if os.environ.get("MEMPROP_REQUIRE") == "all":
            pytest.fail(reason)
        pytest.skip(reason)
    sizes = [32 * MIB, 64 * MIB, 128 * MIB]
    code = KERNEL.format(folder=os.path.dirname(__file__), sizes=sizes)  # noqa: PTH120
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **kernel.ENVIRONMENT},
        capture_output=True,
        text=True,
        check=True,
    )
    for size, seen in zip(sizes, json.loads(done.stdout), strict=True):
        assert abs(seen - size) <= max(0.005 * size, 512 * 1024)


@pytest.mark.parametrize("name", ["psutil", "psutil_uss", "memory_profiler"])
def test_samplers_see_what_is_held_for_a_while(name):
    size = 64 * MIB
    seen = WITNESSES[name].measure(holding(size, seconds=0.03))
    assert 0.9 * size <= seen <= 1.1 * size + 4 * MIB


@pytest.mark.parametrize("name", ["psutil", "psutil_uss", "memory_profiler"])
def test_memory_that_the_c_library_keeps_is_no_baseline(name):
    # Freeing 32 MiB lets glibc keep buffers up to that size, resident, for the next to come.
    holding(64 * MIB)()
    for size in (64 * MIB, 60 * MIB, 50 * MIB):
        assert WITNESSES[name].measure(holding(size, seconds=0.03)) >= 0.9 * size


def test_an_unknown_witness_lists_the_known():
    with pytest.raises(UnknownNameError, match="did you mean 'kernel'"):
        WITNESSES["kernal"]
    assert set(WITNESSES) == {"tracemalloc", "kernel", "psutil", "psutil_uss", "memory_profiler"}


def test_a_machine_without_the_mark_is_told_not_guessed(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "only Linux" in kernel.available()
    assert kernel.measure(lambda: None) is None
