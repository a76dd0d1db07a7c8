"""What an engine says about its memory, and its host's."""

from __future__ import annotations

import sys
import types

import psutil
import pytest

from rankbook.engine.host import host as machine
from rankbook.models import GroupInfo


def test_the_memory_of_the_host_is_given_unless_less_is_allowed(tmp_path, host, monkeypatch):
    machine.memory_total.cache_clear()
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    assert machine.memory_total() == psutil.virtual_memory().total
    machine.memory_total.cache_clear()
    host("0::/\n", {"memory.max": 1 << 20})
    assert machine.memory_total() == 1 << 20
    machine.memory_total.cache_clear()


@pytest.fixture
def cuda(monkeypatch):
    """A torch that has initialised CUDA, seen from a thread that has chosen no device."""
    held = {"cuda:0": 5, "cuda:1": 7, None: 5}
    cuda = types.SimpleNamespace(is_initialized=lambda: True, memory_reserved=held.__getitem__)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    return cuda


@pytest.mark.parametrize(("device", "held"), [("cuda:1", 7), ("cuda:0", 5), ("cpu", 5)])
def test_the_gpu_memory_is_that_of_the_rank_s_own_gpu(cuda, device, held):
    assert machine.gpu_memory(GroupInfo("nccl", 1, 2, device, is_main=False)) == held
    assert machine.gpu_memory(None) == 5


def test_without_cuda_there_is_no_gpu_memory(cuda):
    cuda.is_initialized = lambda: False
    assert machine.gpu_memory(GroupInfo("gloo", 1, 2, "cpu", is_main=False)) is None
