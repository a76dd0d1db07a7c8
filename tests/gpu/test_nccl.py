"""NCCL on real GPUs: one rank per GPU, as many as there are."""

from __future__ import annotations

import pytest

import rankbook
from rankbook.cluster.gpus import visible_gpus
from rankbook.errors import DeviceError

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        session = rankbook.start()
        yield session
        session.shutdown()


def values(session, code):
    result = session.run(code)
    result.raise_for_error()
    return [result[rank].result_repr for rank in result]


def test_the_default_is_nccl_with_a_rank_for_every_gpu(session):
    assert session.backend == "nccl"
    assert session.world_size == visible_gpus()
    assert [str(info.device) for info in session.infos.values()] == [
        f"cuda:{rank}" for rank in range(session.world_size)
    ]


def test_a_collective_runs_on_the_gpus_in_every_generation(session):
    code = "x = torch.ones(4, device=device)\ndist.all_reduce(x)\nx.sum().item()"
    for _ in range(3):
        assert values(session, code) == [str(4.0 * session.world_size)] * session.world_size
        session.reset()


def test_gloo_takes_the_gpus_too_and_nccl_can_come_back(session):
    session.reset("gloo")
    assert session.backend == "gloo"
    assert (
        values(session, "x = torch.ones(1)\ndist.all_reduce(x)\nx.item()")
        == [str(float(session.world_size))] * session.world_size
    )
    session.reset("nccl")
    assert session.backend == "nccl"


def test_tensors_come_on_the_cpu_and_this_process_never_starts_cuda(session):
    import torch

    session.run("t = torch.arange(3, device=device)\nnested = {'deep': [t]}")
    for rank, value in session.pull("nested").items():
        assert value["deep"][0].device.type == "cpu", rank
    assert not torch.cuda.is_initialized()


def test_the_state_tells_the_memory_of_the_gpu(session):
    session.run("big = torch.empty(64 << 20, dtype=torch.uint8, device=device)")
    assert all(state.gpu_memory >= 64 << 20 for state in session.states())


def test_more_ranks_than_gpus_is_refused_and_the_group_stays(session):
    with pytest.raises(DeviceError, match="nccl needs a GPU per rank"):
        session.initialize("nccl", session.world_size + 1)
    assert values(session, "dist.get_backend()") == ["'nccl'"] * session.world_size


def test_ddp_trains_on_the_gpus(session):
    code = """
from torch.nn.parallel import DistributedDataParallel
model = DistributedDataParallel(torch.nn.Linear(8, 1).to(device), device_ids=[device.index])
loss = model(torch.randn(4, 8, device=device)).square().mean()
loss.backward()
next(model.parameters()).grad.device == device
"""
    assert values(session, code) == ["True"] * session.world_size


def test_the_state_tells_how_full_the_gpu_is_to_everybody(session):
    import torch

    session.run("big = torch.empty(256 << 20, dtype=torch.uint8, device=device)")
    names = session.run("torch.cuda.get_device_name(device)")
    totals = session.run("torch.cuda.mem_get_info(device)[1]")
    for rank, state in enumerate(session.states()):
        assert state.gpu is not None
        assert repr(state.gpu.name) == names[rank].result_repr
        assert state.gpu.used >= 256 << 20
        # NVML counts what the driver keeps for itself.
        assert state.gpu.total == pytest.approx(int(totals[rank].result_repr), rel=0.05)
        assert state.gpu.utilization in range(101)
        assert state.memory_total >= state.memory > 0
    assert not torch.cuda.is_initialized()
