"""Read the CPU and memory limits of a container or job scheduler from Linux control groups (versions 1 and 2).

A limit may be set on any ancestor of the process's own group, so the tightest limit among them counts. Home-made
because psutil reports the machine's memory and cores, not the limits of a control group.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

GROUPS = Path("sys/fs/cgroup")
# Version 1 encodes "no limit" as the largest page-aligned 63-bit number. No machine has an exbibyte of memory.
UNLIMITED_BYTES = 2**60


class MemoryLimit(NamedTuple):
    """The tightest memory limit and the memory used within it, in bytes, without page cache that can be dropped."""

    limit: int
    used: int


def core_limit(root: Path = Path("/")) -> float | None:
    """Return the number of CPU cores that the quota allows (1.5 means one and a half), None without a quota.

    Args:
        root: The root of the file system to read, for tests.
    """
    limits = []
    for folder in _folders(root, "cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_limit(root: Path = Path("/")) -> MemoryLimit | None:
    """Return the tightest memory limit on this process, None without a limit.

    Args:
        root: The root of the file system to read, for tests.
    """
    limits = []
    for folder in _folders(root, "memory"):
        limit = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")
        if limit.isdigit() and int(limit) < UNLIMITED_BYTES:
            limits.append(MemoryLimit(int(limit), _used(folder)))
    return min(limits, default=None)


def _used(folder: Path) -> int:
    total = _text(folder / "memory.current") or _text(folder / "memory.usage_in_bytes")
    counters = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
    droppable = counters.get("total_inactive_file") or counters.get("inactive_file") or "0"
    return max(int(total or 0) - int(droppable), 0)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            mount = root / GROUPS
        elif controller in controllers.split(","):
            mount = root / GROUPS / controller
        else:
            continue
        folder = mount / path.lstrip("/")
        # In a container the path may be the host's, which is not mounted here. Walking up still reaches the mount.
        while folder != mount and mount in folder.parents:
            yield folder
            folder = folder.parent
        yield mount


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
