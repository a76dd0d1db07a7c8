"""Counting this machine's GPUs from the notebook's process, which must never initialise CUDA."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from itertools import takewhile
from pathlib import Path

__all__ = ["count_by_nvml", "visible_gpus"]

_DEVICE = re.compile(r"\d+|GPU-.+|MIG-.+")
_DRIVER = "proc/driver/nvidia/gpus"
_DEVICES = ("dev/nvidiactl", "dev/dxg")
"""One of them is there where NVIDIA's driver is, also where a sandbox or WSL hides its list."""


def visible_gpus(
    asked: str = "", environ: Mapping[str, str] = os.environ, root: Path = Path("/")
) -> int:
    """Count the GPUs that engines started here could use.

    The kernel driver's own list is read, so torch is not needed, and NVML only where that list is
    hidden; the engines later report what they really see.

    Args:
        asked: A list such as ``0,1``, as in ``%dist_init --gpus``; empty for all.
        environ: Where ``CUDA_VISIBLE_DEVICES`` may narrow them.
        root: ``/``, or what a test puts in its place.

    Returns:
        Their number; 0 where there is no NVIDIA driver.
    """
    installed = _installed(root)
    visible = asked or environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return installed
    # CUDA takes the entries up to the first that is no device: "-1" hides them all.
    named = list(takewhile(_DEVICE.fullmatch, (name.strip() for name in visible.split(","))))
    return min(installed, len(named))


def _installed(root: Path) -> int:
    if (driver := root / _DRIVER).is_dir():
        return len(list(driver.iterdir()))
    return count_by_nvml() if any((root / device).exists() for device in _DEVICES) else 0


@cache
def count_by_nvml() -> int:
    """GPUs that NVML knows of; it creates no CUDA context. 0 where it fails."""
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            return int(pynvml.nvmlDeviceGetCount())
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # noqa: BLE001 - no library, no driver: then no GPU can be used either
        return 0
