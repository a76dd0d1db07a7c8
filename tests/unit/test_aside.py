"""Process groups that are set aside while a script makes its own: afterwards they are as before."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d

from rankbook.distributed import initialize_distributed, teardown
from rankbook.distributed.aside import Aside


def initialize():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


def reduced(group=None):
    tensor = torch.ones(1)
    dist.all_reduce(tensor, group=group)
    return tensor.item()


@pytest.fixture(autouse=True)
def no_group_afterwards():
    yield
    if dist.is_initialized():
        dist.destroy_process_group()
    teardown.wait_until_freed()


def test_torch_knows_of_no_group_meanwhile():
    initialize()
    aside = Aside()
    assert not dist.is_initialized()
    assert c10d._world.group_count == 0
    assert not c10d._world.pg_map
    aside.end()
    assert dist.is_initialized()


def test_the_former_groups_are_there_again_and_work():
    initialize()
    default, group = dist.group.WORLD, dist.new_group([0])
    count = c10d._world.group_count
    aside = Aside()
    initialize()
    assert reduced() == 1.0
    dist.destroy_process_group()
    aside.end()
    assert dist.group.WORLD is default
    assert c10d._world.group_count == count
    assert c10d._resolve_process_group(group.group_name) is group
    assert (reduced(), reduced(group)) == (1.0, 1.0)


def test_a_group_that_was_left_meanwhile_is_destroyed():
    initialize()
    default = dist.group.WORLD
    aside = Aside()
    initialize()
    other = dist.group.WORLD
    aside.end()
    assert dist.group.WORLD is default
    assert other not in c10d._world.pg_map


def test_no_group_is_there_afterwards_where_there_was_none():
    aside = Aside()
    initialize()
    aside.end()
    assert not dist.is_initialized()


def test_the_seed_s_group_is_not_taken_for_the_other_one():
    info = initialize_distributed("gloo")
    aside = Aside()
    initialize()
    aside.end()
    assert initialize_distributed("gloo") == info
