"""Choosing the launcher for a request. Each is imported when needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankbook.cluster.hosts.targets import Slurm, Ssh, Target
from rankbook.cluster.processes.warm import WarmProcess

if TYPE_CHECKING:
    from rankbook.cluster.launchers.base import Launcher
    from rankbook.cluster.launchers.far import FarLauncher

__all__ = ["elsewhere", "here"]


def here(count: int, profile: str | None, gpus: str) -> Launcher:
    """The launcher for ranks on this machine, or as configured in a profile.

    Args:
        count: Number of engines.
        profile: Name of an IPython profile, if any.
        gpus: ``CUDA_VISIBLE_DEVICES`` of local engines, empty leaves it as it is.
    """
    if profile is not None:
        from rankbook.cluster.launchers.profile import ProfileLauncher

        return ProfileLauncher(profile, count)
    # The slowest step first: it imports torch while this process imports ipyparallel.
    warm = WarmProcess()
    try:
        from rankbook.cluster.launchers.local import LocalLauncher

        return LocalLauncher(count, gpus, warm)
    except BaseException:
        warm.close()
        raise


def elsewhere(target: Target, python: str | None, address: str, gpus: str) -> FarLauncher:
    """The launcher for ranks on other hosts, or started by other programs.

    Args:
        target: The request.
        python: The interpreter there; None: the path of this one.
        address: Of this host, for the engines; empty finds it.
        gpus: ``CUDA_VISIBLE_DEVICES`` of the engines, empty leaves it as it is.
    """
    if isinstance(target, Ssh):
        from rankbook.cluster.launchers.ssh import SSHLauncher

        return SSHLauncher(target.hosts, python, gpus, address)
    if isinstance(target, Slurm):
        from rankbook.cluster.hosts import slurm
        from rankbook.cluster.launchers.slurm import AllocationLauncher, JobLauncher

        kind = AllocationLauncher if slurm.is_in_job() else JobLauncher
        return kind(target, python, gpus, address)
    from rankbook.cluster.launchers.mpi import MPILauncher

    return MPILauncher(target, python, gpus, address)
