"""What an engine says about where it stands; asked on the control thread."""

from __future__ import annotations

import os
import socket
import sys
from functools import cache

from rankbook import calls, folders
from rankbook._version import __version__
from rankbook.engine import host, recorder
from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, operation
from rankbook.models import EngineFacts
from rankbook.models.requests import SayFacts

__all__ = ["facts", "nccl_version"]


@operation(SayFacts, on=CONTROL)
def facts(job: Job, request: SayFacts) -> EngineFacts:
    """Where this engine stands."""
    import torch

    box = job.engine.ledger.box
    return EngineFacts(
        engine=job.engine.id,
        host=socket.gethostname(),
        addresses=host.addresses(request.towards),
        pid=os.getpid(),
        gpus=_gpus(),
        cwd=folders.here(),
        versions=(
            ("python", sys.version.split()[0]),
            ("torch", torch.__version__),
            ("rankbook", __version__),
        ),
        last_calls=str(box.path) if box else "",
        nccl=nccl_version(),
        lacking=(*calls.lacking(), *recorder.lacking()),
    )


@cache  # once there are ranks, CUDA may be what the main thread is stuck in
def _gpus() -> tuple[str, ...]:
    """Names of the visible GPUs. The driver is asked; no CUDA context is created."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(torch.cuda.get_device_name(i) for i in range(count))


def nccl_version() -> str:
    """NCCL's version, ``2.30.7``; empty: this torch has none. No CUDA context is created."""
    import torch
    import torch.distributed as dist

    return ".".join(map(str, torch.cuda.nccl.version())) if dist.is_nccl_available() else ""
