"""Engines that ipyparallel starts as an IPython profile says: by Slurm, over SSH, with MPI."""

from __future__ import annotations

import logging

from ipyparallel.cluster.cluster import Cluster

from rankbook.cluster.channel import Channel
from rankbook.cluster.joining import install_agents, profile_dir_of
from rankbook.cluster.launchers.base import ClusterLauncher

__all__ = ["ProfileLauncher"]

_log = logging.getLogger(__name__)


class ProfileLauncher(ClusterLauncher):
    """Starts what a profile's ``ipcluster_config.py`` says.

    Args:
        profile: Its name.
        nproc: Number of engines.

    Raises:
        ClusterError: There is no such profile.
    """

    def __init__(self, profile: str, nproc: int) -> None:
        super().__init__(Cluster(log=_log, n=nproc, profile_dir=str(profile_dir_of(profile))))
        self._profile = profile

    def describe(self) -> str:
        """By the profile's name."""
        return f"the cluster of profile {self._profile!r}"

    def make_answer(self, channel: Channel) -> None:
        """Install agents: the engines are ipyparallel's own."""
        del channel
        install_agents(self.client)
