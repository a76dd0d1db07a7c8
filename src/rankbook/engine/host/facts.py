"""The facts of an engine: host, process, versions, GPUs."""

from __future__ import annotations

import os
import socket
import sys
from functools import cache
from typing import TYPE_CHECKING

from rankbook import calls, driver, folders
from rankbook._version import __version__
from rankbook.distributed import by_hand, healing
from rankbook.distributed.stores import first_line
from rankbook.engine.group import sockets
from rankbook.engine.host import gpu, host
from rankbook.engine.looking import recorder
from rankbook.models import EngineFacts

if TYPE_CHECKING:
    from rankbook.engine.context import Engine

__all__ = ["facts_of", "nccl_version"]


def facts_of(engine: Engine, towards: str) -> EngineFacts:
    """Where an engine stands.

    Args:
        engine: This process's.
        towards: An address; of the host's own, those are told by which it is reached.
    """
    import torch

    box = engine.ledger.box
    gpus, unusable = _gpus()
    return EngineFacts(
        engine=engine.id,
        host=socket.gethostname(),
        addresses=host.addresses(towards),
        pid=os.getpid(),
        gpus=gpus,
        cwd=folders.here(),
        versions=(
            ("python", sys.version.split()[0]),
            ("torch", torch.__version__),
            ("rankbook", __version__),
        ),
        last_calls=str(box.path) if box else "",
        nccl=nccl_version(),
        lacking=(
            *calls.lacking(),
            *recorder.lacking(),
            *healing.lacking(),
            *by_hand.lacking(),
            *sockets.lacking(),
            *engine.runner.failures.lacking(),
            *_lacking(unusable),
        ),
        unusable_gpus=unusable,
    )


@cache  # later the main thread may be stuck in CUDA
def _gpus() -> tuple[tuple[str, ...], str]:
    """Names of the GPUs that torch can use, and why it can use none where the host has some.

    No CUDA context is created.
    """
    import torch

    try:
        # Before that, torch lets NVML count, even where CUDA does not start (because the driver is
        # too old, for example), and NVML counts divided GPUs (MIG) differently from CUDA.
        torch.cuda.init()
        return tuple(map(torch.cuda.get_device_name, range(torch.cuda.device_count()))), ""
    except (AssertionError, RuntimeError) as error:
        are_there = gpu.are_shown(os.environ) and driver.installed()
        return (), first_line(error).partition(". ")[0].rstrip(".") if are_there else ""


def _lacking(unusable_gpus: str) -> tuple[str, ...]:
    return (f"no GPU can be used: {unusable_gpus}.",) if unusable_gpus else ()


def nccl_version() -> str:
    """NCCL's version, ``2.30.7``; empty if this torch has none. No CUDA context is created."""
    import torch
    import torch.distributed as dist

    return ".".join(map(str, torch.cuda.nccl.version())) if dist.is_nccl_available() else ""
