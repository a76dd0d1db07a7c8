"""The control groups of this process, which limit a container or a job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["cpus", "memory"]

_MOUNTED = "sys/fs/cgroup"


def memory(root: Path) -> list[int]:
    """Bytes of memory that each control group allows: its own, and those that contain it.

    Args:
        root: ``/``, or another folder in a test.
    """
    found = []
    for folder, is_old in _folders(root, "memory"):
        name = "memory.limit_in_bytes" if is_old else "memory.max"
        with suppress(OSError, ValueError):  # missing, or "max"
            found.append(int((folder / name).read_text()))
    return found


def cpus(root: Path) -> list[float]:
    """Cores' worth of time that each control group allows; see :func:`memory`."""
    found = []
    for folder, is_old in _folders(root, "cpu"):
        with suppress(OSError, ValueError):  # missing, or "max"
            if is_old:
                quota = (folder / "cpu.cfs_quota_us").read_text()
                period = (folder / "cpu.cfs_period_us").read_text()
            else:
                quota, period = (folder / "cpu.max").read_text().split()
            if int(quota) > 0 and int(period) > 0:  # -1: no limit
                found.append(int(quota) / int(period))
    return found


def _folders(root: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """Folders of a controller's limits, and whether each belongs to cgroup version 1."""
    mounted = root / _MOUNTED
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        is_old = controllers != ""
        if is_old and controller not in controllers.split(","):
            continue
        folder = mounted / controller if is_old else mounted
        # Inside a container the process's own group may appear as the root, whatever its name.
        for part in (".", *Path(path.lstrip("/")).parts):
            folder /= part
            yield folder, is_old
