"""The seed API in one process: world size 1, no launcher."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import os
import signal
import sys
import time

import psutil
import pytest
import torch
import torch.distributed as dist

from rankbook.distributed import stores
from rankbook.distributed.init_utils import (
    DistInfo,
    destroy_global_state,
    get_local_rank_preinit,
    get_local_world_size_preinit,
    get_rank_safe,
    get_world_size_safe,
    initialize_distributed,
)
from rankbook.errors import EnvironmentVariableError, RendezvousError

pytestmark = pytest.mark.usefixtures("no_launcher")

CPU = torch.device("cpu")


# -- the contract ------------------------------------------------------------------------------


def test_signatures_are_those_of_the_upstream():
    assert [*inspect.signature(initialize_distributed).parameters] == ["backend", "timeout_minutes"]
    assert inspect.signature(initialize_distributed).parameters["timeout_minutes"].default == 1
    fields = [field.name for field in dataclasses.fields(DistInfo)]
    assert fields == ["backend", "rank", "world_size", "device", "is_main"]


def test_without_a_launcher_this_is_rank_0_of_1():
    assert initialize_distributed("gloo") == DistInfo("gloo", 0, 1, CPU, is_main=True)
    assert dist.get_world_size() == 1


def test_a_single_rank_opens_nothing_but_loopback():
    initialize_distributed(backend="gloo", timeout_minutes=1)
    dist.new_group([0])
    addresses = {c.laddr.ip for c in psutil.Process().net_connections("inet")}
    assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_the_sockets_go_soon_after_the_group():
    def sockets():
        return {(c.laddr, c.raddr) for c in psutil.Process().net_connections("inet")}

    others = sockets()
    initialize_distributed("gloo")
    opened = sockets() - others
    assert opened
    destroy_global_state()
    deadline = time.monotonic() + 5
    assert stores.poll(lambda: not opened & sockets(), deadline)


def test_getters_answer_before_during_and_after_a_group(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("LOCAL_RANK", "0")
    for _ in range(2):
        assert (get_rank_safe(), get_world_size_safe()) == (0, 1)
        assert (get_local_rank_preinit(), get_local_world_size_preinit()) == (0, 1)
        initialize_distributed("gloo")


def test_getters_read_the_variables_of_slurm(monkeypatch):
    for name, value in {
        "PROCID": "3",
        "NTASKS": "8",
        "LOCALID": "1",
        "NTASKS_PER_NODE": "2",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert (get_rank_safe(), get_world_size_safe()) == (3, 8)
    assert (get_local_rank_preinit(), get_local_world_size_preinit()) == (1, 2)


def test_getters_name_a_bad_variable(monkeypatch):
    monkeypatch.setenv("RANK", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for getter in (get_rank_safe, get_world_size_safe, get_local_rank_preinit):
        with pytest.raises(EnvironmentVariableError, match="RANK='x'"):
            getter()


def test_an_unknown_local_world_size_is_an_error(monkeypatch):
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EnvironmentVariableError, match="LOCAL_WORLD_SIZE"):
        get_local_world_size_preinit()


# -- a group that exists already ---------------------------------------------------------------


def test_a_second_initialisation_warns_about_the_present_backend(caplog):
    first = initialize_distributed("gloo")
    with caplog.at_level(logging.WARNING):
        assert initialize_distributed("nccl", timeout_minutes=7) == first
    assert "backend gloo, not nccl" in caplog.text


def test_a_second_initialisation_with_the_same_backend_logs_nothing(caplog):
    initialize_distributed("gloo")
    with caplog.at_level(logging.WARNING):
        initialize_distributed("GLOO")
    assert not caplog.records


def test_a_group_made_by_init_process_group_is_taken_and_destroyed():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    assert initialize_distributed("gloo") == DistInfo("gloo", 0, 1, CPU, is_main=True)
    destroy_global_state()
    assert not dist.is_initialized()


# -- failing halfway ---------------------------------------------------------------------------


def test_a_failed_initialisation_leaves_no_group(monkeypatch):
    real = dist.init_process_group

    def make_then_fail(*args, **kwargs):
        real(*args, **kwargs)
        raise RuntimeError("peer went away\nwith a C++ stack")

    hook = sys.excepthook
    monkeypatch.setattr(dist, "init_process_group", make_then_fail)
    with pytest.raises(RendezvousError, match=r"1 ranks \(peer went away\)"):
        initialize_distributed("gloo")
    assert not dist.is_initialized()
    assert sys.excepthook is hook
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    monkeypatch.undo()
    assert initialize_distributed("gloo").world_size == 1


def test_a_failed_initialisation_does_not_raise_torchs_group_count(monkeypatch):
    """A rank that is new counts from 0; the others must name their next group as it does."""
    import torch.distributed.distributed_c10d as c10d

    def fail(*_args, **_kwargs):
        c10d._world.group_count += 1
        raise RuntimeError("a peer died")

    monkeypatch.setattr(dist, "init_process_group", fail)
    with pytest.raises(RendezvousError, match="a peer died"):
        initialize_distributed("gloo")
    assert c10d._world.group_count == 0


def test_ctrl_c_during_initialisation_leaves_no_group(monkeypatch):
    real = dist.init_process_group

    def make_then_interrupt(*args, **kwargs):
        real(*args, **kwargs)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(dist, "init_process_group", make_then_interrupt)
    with pytest.raises(KeyboardInterrupt):
        initialize_distributed("gloo")
    assert not dist.is_initialized()


def test_an_interrupt_while_torch_makes_the_group_leaves_none(monkeypatch):
    real = dist.distributed_c10d._update_default_pg

    def interrupted(group):
        monkeypatch.setattr(dist.distributed_c10d, "_update_default_pg", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(dist.distributed_c10d, "_update_default_pg", interrupted)
    with pytest.raises(KeyboardInterrupt):
        initialize_distributed("gloo")
    assert not dist.is_initialized()
    initialize_distributed("gloo")
    dist.barrier()
