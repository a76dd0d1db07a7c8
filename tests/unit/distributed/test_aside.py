"""Process groups that are set aside while a script makes its own: afterwards they are as before."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
import torch.distributed.distributed_c10d as c10d
from processes import wait_until
from torch.distributed.device_mesh import DeviceMesh
from torch.nn.parallel import DistributedDataParallel

from rankbook.distributed import aside as asides
from rankbook.distributed import (
    destroy_global_state,
    healing,
    initialize_distributed,
    teardown,
)
from rankbook.distributed.aside import Aside, ForScript
from rankbook.errors import StaleGroupError


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


def test_the_group_of_the_seed_is_not_mistaken_for_another_one():
    info = initialize_distributed("gloo")
    aside = Aside()
    initialize()
    aside.end()
    assert initialize_distributed("gloo") == info
    destroy_global_state()  # which takes back GLOO_SOCKET_IFNAME


@pytest.fixture
def told(monkeypatch):
    """Tells what is set aside of every group that torch makes, as an engine does."""
    make = c10d._new_process_group_helper

    def make_group(*args, **options):
        found = make(*args, **options)
        asides.made(found[0])
        return found

    monkeypatch.setattr(c10d, "_new_process_group_helper", make_group)


@pytest.mark.parametrize("destroy", [True, False])
@pytest.mark.usefixtures("told")
def test_what_a_script_has_left_finds_no_group_of_the_session(destroy):
    initialize()
    ours = [dist.new_group([0]) for _ in range(3)]
    script = ForScript("in the script train.py")
    initialize()
    group = dist.new_group([0])
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    mesh = DeviceMesh.from_group(group, "cpu")
    name, default = group.group_name, dist.group.WORLD.group_name
    assert reduced(group) == functional.all_reduce(torch.ones(1), "sum", name).item() == 1.0
    if destroy:
        dist.destroy_process_group()
    script.end()
    assert {name, default}.isdisjoint(c10d._world.pg_names.values())
    for kind, use in {
        "process group": lambda: reduced(group),
        "device mesh": mesh.get_group,
        "DDP module": lambda: model(torch.ones(1, 2)),
    }.items():
        with pytest.raises((RuntimeError, ValueError, StaleGroupError)) as caught:
            use()
        said = str(healing.explain(caught.value))
        assert said.startswith(f"this {kind} was made in the script train.py, ")
    for named in (name, default):
        with pytest.raises(RuntimeError):
            functional.all_reduce(torch.ones(1), "sum", named).item()
    assert [reduced(one) for one in ours] == [1.0, 1.0, 1.0]


@pytest.mark.usefixtures("told")
def test_a_script_s_connections_outlive_what_it_destroys_until_it_makes_another_group():
    script = ForScript("in the script train.py")
    initialize()
    first = weakref.ref(dist.group.WORLD)
    dist.destroy_process_group()
    gc.collect()
    assert first() is not None
    initialize()
    wait_until(lambda: first() is None)
    script.end()
    assert asides.ForScript.present is None
