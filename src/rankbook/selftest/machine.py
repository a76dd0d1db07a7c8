"""Versions, system and GPUs of this machine: the head of a report."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

import rankbook as rb
from rankbook.cluster.gpus import visible_gpus
from rankbook.driver import nvml

__all__ = ["describe", "gpu_count"]

PACKAGES = (
    "torch",
    "numpy",
    "ipyparallel",
    "ipykernel",
    "ipython",
    "ipywidgets",
    "anywidget",
    "jupyter_client",
    "pyzmq",
    "tornado",
    "cloudpickle",
    "psutil",
    "nvidia-ml-py",
)

VARIABLES = ("CUDA_", "NCCL_", "GLOO_", "TORCH_", "OMP_NUM_THREADS")
"""Beginnings of the variables that change how ranks behave."""

_IN_TORCH = """
import json, torch
import torch.distributed as dist
facts = {"cuda": torch.version.cuda, "gloo": dist.is_available() and dist.is_gloo_available()}
facts["gpus"] = torch.cuda.device_count()
if facts["gpus"]:
    facts["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    facts["names"] = [torch.cuda.get_device_name(i) for i in range(facts["gpus"])]
print(json.dumps(facts))
"""


def gpu_count() -> int:
    """GPUs that ranks started here could use."""
    return visible_gpus()


def describe() -> dict[str, Any]:
    """What a reader of the report needs to know of this machine; takes no GPU in use."""
    versions = {"python": sys.version.split()[0], "rankbook": rb.__version__}
    versions |= {name: _version(name) for name in PACKAGES}
    return {
        "versions": versions,
        "system": platform.platform(),
        "glibc": "-".join(platform.libc_ver()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": gpu_count(),
        "driver": _driver(),
        "torch": _of_torch(),
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(VARIABLES)},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _driver() -> str:
    """The version of NVIDIA's driver; empty: there is none."""
    try:
        with nvml() as library:
            return str(library.nvmlSystemGetDriverVersion())
    except Exception:  # noqa: BLE001 - no library or no driver: then there is no version of it
        return ""


def _of_torch() -> dict[str, Any]:
    """What torch says, in a process of its own: asking for a name may start CUDA."""
    command = [sys.executable, "-c", _IN_TORCH]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except subprocess.CalledProcessError as error:
        return {"error": (error.stderr.strip().splitlines() or ["it failed"])[-1]}
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        return {"error": f"{type(error).__name__}: {error}"}
