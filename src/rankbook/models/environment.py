"""The environment of a rank's process: versions, threads, environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.engines import EngineFacts
from rankbook.models.wire import Request

__all__ = ["Environment", "GetEnvironment", "relevant"]

_NAMES = frozenset({"RANK", "WORLD_SIZE", "TP_SOCKET_IFNAME"})
_PREFIXES = (
    *("LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCH", "PYTORCH_"),
    *("SLURM_", "OMPI_", "PMI_", "PMIX_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_"),
    *("NCCL_", "RCCL_", "GLOO_", "UCX_", "FI_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_"),
)
"""Prefixes of the variables that launchers, torch, and the libraries below it read."""


@dataclass(frozen=True)
class GetEnvironment(Request):
    """Report what the process runs with; the answer is an :class:`Environment`."""

    op = "environment"


@dataclass(frozen=True)
class Environment:
    """What a process runs with; answered at any time."""

    facts: EngineFacts
    """Its facts: host, GPUs, folder."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """By name: python, torch, rankbook, CUDA, NCCL, gloo."""
    threads: int = 0
    """Threads for one operation: ``torch.get_num_threads()``."""
    interop_threads: int = 0
    """Threads for parallel operations: ``torch.get_num_interop_threads()``."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those that launchers, torch and the libraries below it read; secrets are masked."""


def relevant(environment: Mapping[str, str]) -> dict[str, str]:
    """Those variables of an environment that launchers, torch and the libraries below it read."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if name in _NAMES or name.startswith(_PREFIXES)
    }
