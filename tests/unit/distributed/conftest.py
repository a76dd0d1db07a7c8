"""What tests of groups of this process share."""

from __future__ import annotations

import os
import signal

import pytest
import torch.distributed as dist

from rankbook.distributed import rendezvous
from rankbook.distributed.init_utils import destroy_global_state

PREFIXES = ("SLURM_", "OMPI_", "TORCHELASTIC_", "GLOO_", "NCCL_", "MASTER_", "PMIX_")
NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@pytest.fixture
def no_launcher(monkeypatch):
    """No launcher before, no process group after, and Ctrl+C as in a terminal."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [*os.environ]:
        if name in NAMES or name.startswith(PREFIXES):
            monkeypatch.delenv(name)
    yield
    destroy_global_state()
    rendezvous.forget()
    signal.signal(signal.SIGINT, handler)
    assert not dist.is_initialized()
