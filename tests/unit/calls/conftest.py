"""What tests of the account share."""

from __future__ import annotations

import pytest
import torch.distributed as dist

from rankbook import calls


@pytest.fixture
def ledger():
    """An account that is told of everything, in a group of one rank."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    ledger = calls.Ledger()
    calls.install(ledger)
    yield ledger
    calls.remove()
    dist.destroy_process_group()
