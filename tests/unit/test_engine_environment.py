"""What a process says it runs with."""

from __future__ import annotations

import platform
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

import rankbook
from rankbook.engine.environment import say_environment
from rankbook.models.environment import SayEnvironment

JOB = SimpleNamespace(engine=SimpleNamespace(id=3, ledger=SimpleNamespace(box=None)))


def say():
    return say_environment.act(JOB, SayEnvironment())


def test_versions_and_where_it_stands():
    told = say()
    assert told.facts.engine == 3
    assert told.versions["python"] == platform.python_version()
    assert told.versions["torch"] == torch.__version__
    assert told.versions["rankbook"] == rankbook.__version__
    assert told.versions["gloo"] == "in this torch"
    assert {"CUDA", "NCCL"} <= told.versions.keys()


@pytest.mark.skipif(dist.is_nccl_available(), reason="this torch has NCCL")
def test_a_torch_without_nccl_says_so():
    assert say().versions["NCCL"] == "not in this torch"


def test_the_version_of_nccl_is_read_without_cuda(monkeypatch):
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 27, 5))
    assert say().versions["NCCL"] == "2.27.5"
    assert not torch.cuda.is_initialized()


@pytest.fixture
def keeps_threads():
    """Sets torch's threads back to what they were."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_threads_are_those_of_the_main_thread_from_any_thread(keeps_threads):
    with ThreadPoolExecutor(1) as control:
        for count in (1, 3, 2):
            torch.set_num_threads(count)
            assert control.submit(say).result().threads == count == torch.get_num_threads()
    assert say().interop_threads == torch.get_num_interop_threads()


def test_no_thread_is_left_behind():
    before = threading.active_count()
    say()
    assert threading.active_count() == before


def test_variables_that_matter_are_told_and_secrets_masked(monkeypatch):
    for name, value in {
        "NCCL_DEBUG": "INFO",
        "SLURM_JWT": "abc",
        "HF_TOKEN": "sesame-42",
        "NCCL_CONF_FILE": "/x/sesame-42/y",
    }.items():
        monkeypatch.setenv(name, value)
    variables = say().variables
    assert variables["NCCL_DEBUG"] == "INFO"
    assert variables["SLURM_JWT"] == "<masked>"
    assert variables["NCCL_CONF_FILE"] == "/x/<masked>/y"
    assert "HF_TOKEN" not in variables
