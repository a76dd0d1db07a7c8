"""Counting this machine's GPUs from the notebook's process, which must never initialise CUDA."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

from rankbook import driver
from rankbook.errors import DeviceError, InputError

__all__ = ["check_asked", "check_form", "visible_gpus"]

_DEVICE = re.compile(r"\d+|GPU-.+|MIG-.+")


def visible_gpus(
    asked: str = "", environ: Mapping[str, str] = os.environ, root: Path = Path("/")
) -> int:
    """Count the GPUs that engines started here could use.

    It asks the driver and does not need torch; the engines later report what they really see.

    Args:
        asked: A list such as ``0,1``, as in ``%dist_init --gpus``; empty for all.
        environ: The environment, whose ``CUDA_VISIBLE_DEVICES`` may restrict them.
        root: ``/``, or what a test puts in its place.

    Returns:
        Their number; 0 where there is no NVIDIA driver.
    """
    installed = driver.installed(root)
    visible = asked or environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return installed
    # CUDA takes the entries up to the first invalid one: "-1" hides all devices.
    named = list(takewhile(lambda name: _is_device(name, installed), _names(visible)))
    is_one_twice = len(set(named)) < len(named)  # CUDA shows none then
    return 0 if is_one_twice else min(installed, len(named))


def check_form(asked: str) -> None:
    """Refuse entries that CUDA would silently ignore.

    Args:
        asked: A list such as ``0,1``, as in ``%dist_init --gpus``; empty for all.

    Raises:
        InputError: An entry is not a GPU, or is repeated.
    """
    names = _names(asked.rstrip(",")) if asked else []
    for name in names:
        if not _DEVICE.fullmatch(name):
            raise InputError(
                f"{name!r} is not a GPU: --gpus takes numbers, 0,1, or names as nvidia-smi -L "
                "shows them, GPU-… or MIG-…."
            )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"GPU {twice} is named twice in --gpus {asked}: name each once.")


def check_asked(asked: str, root: Path = Path("/")) -> None:
    """Refuse GPUs that this machine does not have.

    Args:
        asked: A list such as ``0,1``, as in ``%dist_init --gpus``; empty for all.
        root: ``/``, or what a test puts in its place.

    Raises:
        DeviceError: The machine lacks one of them.
        InputError: See :func:`check_form`.
    """
    check_form(asked)
    installed = driver.installed(root) if asked else 0
    for name in _names(asked.rstrip(",")) if asked else ():
        if not installed:
            raise DeviceError(
                f"This machine shows no GPU, so there is no {name}: leave --gpus out, or look at "
                "the driver (nvidia-smi)."
            )
        if not _is_device(name, installed):
            last = f"numbers 0 to {installed - 1}" if installed > 1 else "only GPU 0"
            raise DeviceError(f"This machine has no GPU {name}: it has {last}.")


def _names(devices: str) -> list[str]:
    return [name.strip() for name in devices.split(",")]


def _is_device(name: str, installed: int) -> bool:
    """Whether CUDA accepts this as a device on a machine with so many."""
    if not _DEVICE.fullmatch(name):
        return False
    return not name.isdecimal() or int(name) < installed
