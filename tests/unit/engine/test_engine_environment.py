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
from rankbook import driver
from rankbook.engine.host import facts
from rankbook.engine.host.environment import get_environment
from rankbook.models.environment import GetEnvironment

JOB = SimpleNamespace(
    engine=SimpleNamespace(
        id=3,
        ledger=SimpleNamespace(box=None),
        runner=SimpleNamespace(failures=SimpleNamespace(lacking=tuple)),
    )
)


def say():
    return get_environment.act(JOB, GetEnvironment())


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
def cuda(monkeypatch):
    """Has CUDA start with the GPUs of these names, on a host that has some; or fail with a text."""

    def start(*names, error=""):
        def init():
            if error:
                raise RuntimeError(error)
            monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))

        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)  # as NVML counts
        monkeypatch.setattr(torch.cuda, "get_device_name", names.__getitem__)
        monkeypatch.setattr(driver, "installed", lambda: 8)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    facts._gpus.cache_clear()
    yield start
    facts._gpus.cache_clear()


TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU "
    "driver by downloading and installing a new version.\nException raised from lazyInit"
)


def test_gpus_are_those_that_cuda_counts(cuda):
    """Of GPUs that are divided, a process gets one slice, and NVML counts all cards."""
    cuda("H100 MIG 1g.10gb")
    told = say().facts
    assert (told.gpus, told.unusable_gpus, told.lacking) == (("H100 MIG 1g.10gb",), "", ())


def test_gpus_that_cuda_cannot_start_with_are_reported_with_the_reason(cuda):
    cuda(error=TOO_OLD)
    told = say().facts
    assert told.gpus == ()
    why = "The NVIDIA driver on your system is too old (found version 12020)"
    assert told.unusable_gpus == why
    assert told.lacking == (f"no GPU can be used: {why}.",)


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has CUDA")
def test_a_cpu_build_of_torch_beside_gpus_is_reported(cuda, monkeypatch):
    monkeypatch.setattr(driver, "installed", lambda: 1)
    assert say().facts.unusable_gpus == "Torch not compiled with CUDA enabled"


@pytest.mark.parametrize("variable", ["", "-1"])
def test_gpus_that_are_hidden_on_purpose_are_not_missed(cuda, monkeypatch, variable):
    cuda(error="No CUDA GPUs are available")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    told = say().facts
    assert (told.gpus, told.unusable_gpus, told.lacking) == ((), "", ())


def test_no_gpu_is_missed_where_there_is_no_driver(cuda, monkeypatch):
    cuda(error="Found no NVIDIA driver on your system.")
    monkeypatch.setattr(driver, "installed", lambda: 0)
    assert say().facts.unusable_gpus == ""


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
    say()
    # By name: threads of torch and of other tests come and go beside it.
    assert not [one for one in threading.enumerate() if one.name.startswith("rankbook-threads")]


def test_variables_that_matter_are_reported_and_secrets_masked(monkeypatch):
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
