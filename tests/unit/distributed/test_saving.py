"""Checkpoints of a DTensor that has lost parts of itself with ranks that are gone."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import CheckpointException
from torch.distributed.checkpoint.api import _wrap_exception
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from rankbook.distributed import healing
from rankbook.distributed.healing import saving
from rankbook.errors import StaleGroupError


def left_alone(size, placements):
    """This rank's part of a tensor of before, in a world of this rank only."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=size)
    mesh = init_device_mesh("cpu", (2, size // 2))
    tensor = distribute_tensor(torch.arange(8.0), mesh, placements, src_data_rank=None)
    account = healing.note(7)
    dist.destroy_process_group()
    healing.separate(account.groups)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    healing.heal(account)
    return tensor


@pytest.fixture(autouse=True)
def ended():
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("use", [dcp.save, dcp.load])
@pytest.mark.parametrize("placements", [[Shard(0), Shard(0)], [Replicate(), Shard(0)]])
def test_a_part_of_a_tensor_takes_the_place_of_no_checkpoint(tmp_path, placements, use):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    dcp.save({"weight": torch.arange(8.0)}, checkpoint_id=tmp_path)
    dist.destroy_process_group()
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    tensor = left_alone(4, placements)
    with pytest.raises(CheckpointException) as raised:
        use({"weight": tensor}, checkpoint_id=tmp_path)
    said = str(healing.explain(raised.value))
    assert said.startswith("this DTensor was made for generation 7 on 4 ranks, and some of its ")
    assert "\n" not in said
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == content
    assert tensor.to_local().numel() < 8  # which can still be looked at


def test_a_tensor_that_each_rank_has_whole_is_saved_as_before(tmp_path):
    dcp.save({"weight": left_alone(4, [Replicate(), Replicate()])}, checkpoint_id=tmp_path)
    loaded = {"weight": torch.zeros(8)}
    dcp.load(loaded, checkpoint_id=tmp_path)
    assert torch.equal(loaded["weight"], torch.arange(8.0))


def test_torchs_list_of_what_is_missing_is_one_line():
    tensor = left_alone(4, [Replicate(), Replicate()])
    missing = ValueError("Failed to validate global plan: key:weight invalid fill tensor-volume")

    def save(state_dict):
        raise CheckpointException("plan", {0: _wrap_exception(missing)})

    with pytest.raises(CheckpointException) as raised:
        save({"model": {"weight": tensor}})
    assert "this DTensor was made for generation 7" in str(saving.explain(raised.value))
    with pytest.raises(CheckpointException) as raised:
        save({"model": {"weight": torch.ones(2)}})
    assert saving.explain(raised.value) is None


def test_what_one_rank_says_is_said_on_all():
    left_alone(4, [Shard(0), Shard(0)])
    failures = {1: _wrap_exception(OSError()), 2: _wrap_exception(StaleGroupError("this model"))}
    assert str(saving.explain(CheckpointException("plan", failures))) == "this model"
    assert saving.explain(CheckpointException("plan", {1: failures[1]})) is None
    assert saving.explain(ValueError()) is None
