"""Backends, and the device of a rank."""

from __future__ import annotations

import dataclasses
import os
import warnings

import pytest
import torch
import torch.distributed as dist

from rankbook.distributed import devices, environment
from rankbook.distributed.devices import check_backend, pick_device
from rankbook.distributed.init_utils import initialize_distributed
from rankbook.errors import BackendError, DeviceError, InputError

pytestmark = pytest.mark.usefixtures("no_launcher")

CPU = torch.device("cpu")


def gpus(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)


def launch(**changes):
    return dataclasses.replace(environment.Launch("torchrun", 0, 4, 0, 4, one_host=True), **changes)


@pytest.mark.parametrize("backend", ["gloo", "GLOO", "cpu:gloo", "cpu:gloo,cuda:gloo"])
def test_the_backend_reported_is_the_real_one(backend):
    info = initialize_distributed(backend)
    assert info.backend == dist.get_backend() == backend.lower()


@pytest.mark.parametrize("backend", ["glo", "", None, 3, "undefined", "fake", "cpu:", "a:b:c"])
def test_an_unknown_backend_is_refused_with_the_available_ones(backend):
    with pytest.raises(BackendError, match=r"which has .*'gloo'"):
        initialize_distributed(backend)
    assert not dist.is_initialized()


@pytest.mark.parametrize("backend", ["nccl", "cpu:gloo,cuda:nccl"])
def test_nccl_without_a_gpu_is_refused(monkeypatch, backend):
    gpus(monkeypatch, 0)
    with pytest.raises(DeviceError, match=r"needs a GPU for every rank.*use 'gloo'"):
        initialize_distributed(backend)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Connection closed by peer\nframe #0", "(Connection closed by peer): initialise again"),
        (
            (
                "NCCL error in: NCCLUtils.cpp:77, unhandled system error, NCCL version 2.28.9\n"
                "ncclSystemError: System call or external library call failed or device error.\n"
                "Last error:\nError while creating shared memory segment /dev/shm/nccl-OL3 "
                "(size 33030528), error: No space left on device (28)\nException raised from"
            ),
            (
                "(Error while creating shared memory segment /dev/shm/nccl-OL3 (size 33030528), "
                "error: No space left on device (28)): make /dev/shm larger"
            ),
        ),
        (
            (
                "NCCL error in: NCCLUtils.cpp:94, invalid usage\nLast error:\n"
                "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000\n"
            ),
            "(Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000): initialise",
        ),
        ("NCCL error in: NCCLUtils.cpp:94\nLast error:\n", "(NCCL error in: NCCLUtils.cpp:94): in"),
    ],
)
def test_ranks_that_cannot_be_connected_are_reported_in_the_words_of_nccl(said, words):
    assert devices.why_not_connected(RuntimeError(said)).startswith(words)


def test_torch_ends_no_process_after_a_timeout_unless_it_was_set(monkeypatch):
    names = [
        f"TORCH_NCCL_{name}"
        for name in ("ASYNC_ERROR_HANDLING", "DUMP_ON_TIMEOUT", "ENABLE_MONITORING")
    ]
    for name in names[:2]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(names[2], "1")
    with warnings.catch_warnings():
        devices.survive_timeouts()
        warnings.warn("barrier(): using the device under current context. You can", stacklevel=1)
    assert [os.environ[name] for name in names] == ["0", "0", "1"]


def test_gpus_that_only_nvml_counts_are_left_alone(monkeypatch):
    """It counts them where CUDA cannot start, because the driver is too old for this torch, say."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("gloo", launch(local_rank=3)) == CPU
    assert initialize_distributed("gloo").device == CPU
    with pytest.raises(DeviceError, match="needs a GPU for every rank"):
        check_backend("nccl")


@pytest.mark.skipif(dist.is_nccl_available(), reason="this torch has NCCL")
def test_nccl_that_this_build_lacks_is_refused(monkeypatch):
    gpus(monkeypatch, 1)
    with pytest.raises(BackendError, match="not in this build"):
        initialize_distributed("nccl")


@pytest.mark.parametrize(
    ("count", "backend", "changes", "device"),
    [
        (0, "gloo", {}, "cpu"),
        (4, "gloo", {"local_rank": 3}, "cuda:3"),
        (4, "nccl", {"local_rank": 3}, "cuda:3"),
        (8, "cpu:gloo,cuda:nccl", {"local_rank": 3}, "cuda:3"),
        (4, "cpu:gloo", {"local_rank": 3}, "cpu"),
        (3, "gloo", {"local_rank": 0}, "cpu"),
        (3, "gloo", {"local_rank": 3}, "cpu"),
        (1, "nccl", {"local_rank": 3, "own_gpus": True}, "cuda:0"),
        (1, "gloo", {"local_rank": 3, "own_gpus": True}, "cuda:0"),
        (2, "nccl", {"local_rank": 1, "local_world_size": None}, "cuda:1"),
        (2, "gloo", {"local_rank": 1, "local_world_size": None}, "cpu"),
        (4, "gloo", {"local_rank": 1, "local_world_size": None}, "cuda:1"),
        (2, "gloo", {"world_size": 1, "local_world_size": 1, "local_rank": 1}, "cuda:1"),
    ],
)
def test_the_device_of_a_rank(monkeypatch, count, backend, changes, device):
    gpus(monkeypatch, count)
    assert pick_device(backend, launch(**changes)) == torch.device(device)


@pytest.mark.parametrize("local_rank", [0, 2])
def test_nccl_with_too_few_gpus_fails_on_every_rank_of_the_host(monkeypatch, local_rank):
    gpus(monkeypatch, 2)
    with pytest.raises(
        DeviceError, match=f"LOCAL_RANK={local_rank} of 4 .* 2 GPUs: start at most 2"
    ):
        pick_device("nccl", launch(local_rank=local_rank))


@pytest.mark.parametrize("backend", ["nccl", "gloo"])
def test_ranks_that_share_gpus_take_turns_on_them(monkeypatch, backend):
    gpus(monkeypatch, 3)
    with monkeypatch.context() as undone:
        undone.setenv("NCCL_MULTI_RANK_GPU_ENABLE", "")
        undone.delenv("NCCL_MULTI_RANK_GPU_ENABLE")
        devices.share_gpus(shared=True)
        given = [pick_device(backend, launch(local_rank=rank)) for rank in range(4)]
        assert [str(device) for device in given] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
        assert [devices.ranks_on(device, 4) for device in given] == [2, 1, 1, 2]
        assert os.environ["NCCL_MULTI_RANK_GPU_ENABLE"] == "1"
        devices.share_gpus(shared=False)
        assert "NCCL_MULTI_RANK_GPU_ENABLE" not in os.environ
    assert devices.ranks_on(torch.device("cuda", 0), 4) == 1


def test_what_a_user_has_set_for_nccl_stays_when_gpus_are_not_shared(monkeypatch):
    monkeypatch.setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1")
    devices.share_gpus(shared=False)
    assert os.environ["NCCL_MULTI_RANK_GPU_ENABLE"] == "1"


def test_nccl_can_be_allowed_to_share_a_gpu(monkeypatch):
    gpus(monkeypatch, 2)
    monkeypatch.setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1")
    assert pick_device("nccl", launch(local_rank=3)) == torch.device("cuda:1")


def test_check_backend_answers_as_torch_writes_it():
    assert check_backend(" Gloo ") == "gloo"


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf"), "1", None, True, 1e300])
def test_an_invalid_timeout_is_refused(minutes):
    with pytest.raises(InputError, match="timeout_minutes="):
        initialize_distributed("gloo", minutes)
