"""The device meshes that code makes, as the account of the process tells of them."""

from __future__ import annotations

import pytest
import torch.distributed as dist
from torch.distributed import device_mesh

from rankbook import calls
from rankbook.calls import Ledger
from rankbook.models.meetings import Meets, MeshMaking


@pytest.fixture
def ledger(tmp_path):
    account = Ledger()
    calls.install(account)
    store = dist.FileStore(str(tmp_path / "meet"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield account
    dist.destroy_process_group()
    calls.remove()


def test_a_mesh_is_told_with_its_shape_its_names_and_its_line(ledger):
    for make in (device_mesh.init_device_mesh, dist.init_device_mesh):
        make("cpu", (1, 1), mesh_dim_names=("dp", "tp"))
    device_mesh.init_device_mesh("cpu", mesh_shape=(1,))
    first, second, third = ledger.groups.meshes
    assert first == MeshMaking((1, 1), ("dp", "tp"), 1, 1, first.line)
    assert (second.nth, third.shape, third.names, third.nth) == (2, (1,), (), 3)
    assert "test_meshes.py" in first.line
    assert "make(" in first.line


def test_a_mesh_of_the_next_default_group_is_the_first(ledger, tmp_path):
    device_mesh.init_device_mesh("cpu", (1,))
    dist.destroy_process_group()
    store = dist.FileStore(str(tmp_path / "again"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    device_mesh.init_device_mesh("cpu", (1,))
    assert [(each.epoch, each.nth) for each in ledger.groups.meshes] == [(1, 1), (2, 1)]
    ledger.count_again()
    assert not ledger.groups.meshes


def test_a_default_group_is_told_with_the_place_where_its_ranks_meet(ledger, tmp_path):
    [making] = [each for each in ledger.groups.makings() if each.meets]
    assert making.meets == Meets(str(tmp_path / "meet"), 0, 1, prefix="")
    assert "cpu:gloo" in making.backends


@pytest.mark.usefixtures("ledger")
def test_torch_says_what_is_wrong_with_a_call():
    with pytest.raises(TypeError, match="mesh_shape"):
        device_mesh.init_device_mesh("cpu")


def test_torchs_own_function_stands_there_again_afterwards():
    calls.install(Ledger())
    calls.remove()
    assert "rankbook" not in device_mesh.init_device_mesh.__code__.co_filename
    assert dist.init_device_mesh is device_mesh.init_device_mesh
