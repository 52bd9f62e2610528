"""Limits of control groups, of both versions, are found wherever they are set."""

import pytest

from memprop.machine import cgroup
from memprop.machine.cgroup import Allowance, cpu_quota, memory_allowance
from memprop.sweep import room

MIB = 2**20


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Write the process's groups and the files of a hierarchy."""
    monkeypatch.setattr(cgroup, "_ROOT", tmp_path / "root")
    monkeypatch.setattr(cgroup, "_OWN", tmp_path / "own")

    def write(own, files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    return write


def v2(folder, limit, used, inactive=0):
    stat = f"anon 1\ninactive_file {inactive}\nactive_file 5"
    names = ("memory.max", "memory.current", "memory.stat")
    return {f"{folder}{n}": text for n, text in zip(names, (limit, used, stat), strict=True)}


def v1(folder, limit, used, inactive=0):
    stat = f"inactive_file 3\ntotal_inactive_file {inactive}"
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    return {f"memory/{folder}{n}": s for n, s in zip(names, (limit, used, stat), strict=True)}


def test_a_container_sees_its_group_as_the_root(groups):
    groups("0::/\n", v2("", 512 * MIB, 200 * MIB))
    assert memory_allowance() == Allowance(512 * MIB, 200 * MIB)


def test_pages_of_files_that_nobody_needs_are_not_used(groups):
    groups("0::/\n", v2("", 512 * MIB, 200 * MIB, inactive=50 * MIB))
    assert memory_allowance() == Allowance(512 * MIB, 150 * MIB)


def test_the_group_that_leaves_the_least_room_counts(groups):
    own = v2("a/b/", "max", 10 * MIB)
    groups("0::/a/b\n", {**own, **v2("a/", 100 * MIB, 90 * MIB), **v2("", 80 * MIB, 20 * MIB)})
    assert memory_allowance() == Allowance(100 * MIB, 90 * MIB)
    assert memory_allowance().room_bytes == 10 * MIB


def test_a_group_above_its_limit_has_no_room():
    assert Allowance(10, 12).room_bytes == 0


def test_version_1_has_its_own_files(groups):
    files = v1("job/", 300 * MIB, 100 * MIB, inactive=MIB)
    groups("5:memory:/job\n4:cpu,cpuacct:/job\n", files)
    assert memory_allowance() == Allowance(300 * MIB, 99 * MIB)


def test_version_1_inside_a_container_does_not_see_the_path_of_its_group(groups):
    groups("5:memory:/docker/0123\n", v1("", 300 * MIB, 100 * MIB))
    assert memory_allowance() == Allowance(300 * MIB, 100 * MIB)


def test_the_largest_number_of_pages_is_no_limit(groups):
    groups("5:memory:/\n", v1("", 2**63 - 4096, 100 * MIB))
    assert memory_allowance() is None


def test_without_control_groups_there_is_no_limit_and_no_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroup, "_OWN", tmp_path / "absent")
    assert memory_allowance() is None
    assert cpu_quota() is None


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/a\n", {"a/cpu.max": "max 100000", "cpu.max": "300000 100000"}, 3.0),
        ("4:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": 200000, "cpu/cpu.cfs_period_us": 50000}, 4),
        ("4:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": -1, "cpu/cpu.cfs_period_us": 50000}, None),
    ],
)
def test_a_quota_is_counted_in_cores(groups, own, files, cores):
    groups(own, files)
    assert cpu_quota() == cores


def test_what_is_free_keeps_to_the_limit(groups):
    groups("0::/\n", v2("", 512 * MIB, 511 * MIB))
    assert room.free_bytes() == MIB
