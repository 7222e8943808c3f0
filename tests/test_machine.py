"""A process counts with what its container lets it have, whichever version of control groups says so."""

import os
from pathlib import Path

import pytest

from hpo.data import npz
from hpo.machine import memory_bytes, n_cores
from hpo.run import crew

INSTALLED_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


def machine(root: Path, groups: str, **limits: str) -> Path:
    """Make a machine on which a process is in these control groups."""
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{k}": v for k, v in limits.items()}}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "limits", "n_bytes"),
    [
        ("0::/\n", {"memory.max": "1000000\n"}, 1_000_000),
        ("0::/\n", {"memory.max": "max\n"}, INSTALLED_BYTES),
        ("0::/\n", {"memory.max": f"{10**18}\n"}, INSTALLED_BYTES),
        ("0::/user/job\n", {"user/job/memory.max": "max\n", "user/memory.max": "2000000\n"}, 2_000_000),
        ("0::/user/job\n", {"user/job/memory.max": "1000000\n", "user/memory.max": "2000000\n"}, 1_000_000),
        ("0::/user/job\n", {"other/memory.max": "1000000\n"}, INSTALLED_BYTES),
        ("0::/../other\n", {"memory.max": "1000000\n"}, 1_000_000),
        ("4:memory:/\n0::/\n", {"memory/memory.limit_in_bytes": "1000000\n"}, 1_000_000),
        ("4:memory:/\n0::/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, INSTALLED_BYTES),
        ("4:memory:/docker/a:b\n", {"memory/docker/a:b/memory.limit_in_bytes": "1000000\n"}, 1_000_000),
        ("4:memory:/docker/abc\n", {"memory/memory.limit_in_bytes": "1000000\n"}, 1_000_000),  # seen from within
        ("4:cpuset:/\n", {"memory/memory.limit_in_bytes": "1000000\n"}, INSTALLED_BYTES),
        ("0::/\n", {"memory.max": ""}, INSTALLED_BYTES),
        ("", {}, INSTALLED_BYTES),
    ],
)
def test_memory_is_the_least_that_any_control_group_leaves(
    tmp_path: Path, groups: str, limits: dict[str, str], n_bytes: int
) -> None:
    assert memory_bytes(machine(tmp_path, groups, **limits)) == n_bytes


@pytest.mark.parametrize(
    ("groups", "limits", "n_usable"),
    [
        ("0::/\n", {"cpu.max": "300000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("2:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ("2:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
    ],
)
def test_cores_are_those_that_every_control_group_leaves(
    tmp_path: Path, groups: str, limits: dict[str, str], n_usable: int
) -> None:
    assert n_cores(machine(tmp_path, groups, **limits)) == n_usable


def test_a_machine_without_control_groups_is_all_its_own(tmp_path: Path) -> None:
    assert (n_cores(tmp_path), memory_bytes(tmp_path)) == (64, INSTALLED_BYTES)


def test_workers_and_a_file_s_size_are_measured_by_the_same_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert vars(crew)["memory_bytes"] is vars(npz)["memory_bytes"] is memory_bytes
    for gigabytes, n_workers in [(1, 1), (3, 2), (1000, 32)]:
        monkeypatch.setattr(crew, "memory_bytes", lambda n=gigabytes: n * 10**9)
        monkeypatch.setattr(crew, "n_cores", lambda: 64)
        assert crew.default_workers(n_threads=2) == n_workers
