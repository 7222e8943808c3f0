"""What of this machine a process may use: its cores and memory, within its container's limits, and which packages."""

import contextlib
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path("/")


def installed_version(name: str) -> str | None:
    """Return an installed package's version; None where it is not installed."""
    for one in (name, f"{name}-cpu"):  # TensorFlow without CUDA's kernels comes as a package of another name
        try:
            return version(one)
        except PackageNotFoundError:
            continue
    return None


def n_cores(root: Path = ROOT) -> int:
    """Return how many cores this process may keep busy."""
    affinity = getattr(os, "sched_getaffinity", None)
    n_usable = len(affinity(0)) if affinity else os.cpu_count() or 1
    for folder in _control_groups("cpu", root):
        with contextlib.suppress(OSError, ValueError):  # no limit is "max", or a file of the other version's
            quota, period = _read(folder, "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
            if int(quota) > 0:
                n_usable = min(n_usable, max(1, int(quota) // int(period)))
    return n_usable


def memory_bytes(root: Path = ROOT) -> int:
    """Return how much memory this process may have."""
    n_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for folder in _control_groups("memory", root):
        with contextlib.suppress(OSError, ValueError):
            (limit,) = _read(folder, "memory.max", "memory.limit_in_bytes")
            n_bytes = min(n_bytes, int(limit))
    return n_bytes


def _read(folder: Path, name: str, *older_names: str) -> list[str]:
    """Return the words of a control group's file, or of those that say the same in version 1."""
    path = folder / name
    return (path.read_text() if path.exists() else " ".join((folder / one).read_text() for one in older_names)).split()


def _control_groups(controller: str, root: Path) -> Iterator[Path]:
    """Yield this process's control group and all around it, of versions 1 and 2: each one's limit holds.

    A container shows its own group as the outermost, whatever path the process's has.
    """
    lines: list[str] = []
    with contextlib.suppress(OSError):  # macOS has none
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    mounts = root / "sys/fs/cgroup"
    for _hierarchy, controllers, path in (line.split(":", 2) for line in lines):
        if controllers and controller not in controllers.split(","):
            continue
        mount = mounts / controller if controllers else mounts
        inner = mount / path.lstrip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(mount))
