"""NVIDIA's driver on this host, asked without CUDA and without torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["count_by_nvml", "installed", "nvml"]

_LIST = "proc/driver/nvidia/gpus"
_DEVICES = ("dev/nvidiactl", "dev/dxg")
"""One of these exists where NVIDIA's driver is, even if a sandbox or WSL hides its list."""


def installed(root: Path = Path("/")) -> int:
    """Count the GPUs that the driver lets processes here use.

    It reads the driver's own list, which is fast. NVML is asked only where that list is hidden, or
    has more GPUs than there are device files: a container may list all of its host's and have one.

    Args:
        root: ``/``, or a test's replacement for it.

    Returns:
        Their number; 0 where there is no such driver.
    """
    devices = len(list((root / "dev").glob("nvidia[0-9]*")))
    if (listed := root / _LIST).is_dir():
        count = len(list(listed.iterdir()))
        return count_by_nvml() or devices if 0 < devices < count else count
    return count_by_nvml() if any((root / device).exists() for device in _DEVICES) else 0


@cache
def count_by_nvml() -> int:
    """The number of GPUs that NVML knows; 0 where it fails."""
    try:
        with nvml() as library:
            return int(library.nvmlDeviceGetCount())
    except Exception:  # noqa: BLE001 - without library or driver no GPU can be used
        return 0


@contextmanager
def nvml() -> Iterator[Any]:
    """NVML, initialised; it creates no CUDA context. Raises NVML's errors."""
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()
