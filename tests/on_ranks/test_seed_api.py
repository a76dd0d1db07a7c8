"""The seed API on ranks that have a group, by our own plugin for pytest."""

from __future__ import annotations

import pytest

from rankbook.distributed.init_utils import (
    DistInfo,
    get_rank_safe,
    get_world_size_safe,
    initialize_distributed,
)


@pytest.mark.ranks(2)
def test_a_rank_knows_its_place(rank, world_size):
    assert (get_rank_safe(), get_world_size_safe()) == (rank, world_size)


@pytest.mark.ranks(2)
@pytest.mark.parametrize("backend", ["gloo", "nccl"])
def test_initialising_a_group_that_is_there_describes_it(backend, rank, world_size, device):
    for _ in range(2):
        info = initialize_distributed(backend)
        assert info == DistInfo("gloo", rank, world_size, device, is_main=rank == 0)
