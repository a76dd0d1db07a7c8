"""Engines that ipyparallel starts as an IPython profile configures: PBS, LSF, a site's own way."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ipyparallel.cluster.cluster import Cluster
from ipyparallel.cluster.launcher import SlurmLauncher, SSHEngineSetLauncher

from rankbook.cluster.hosts import slurm
from rankbook.cluster.hosts.addresses import address_to
from rankbook.cluster.joining import install_agents, profile_dir_of
from rankbook.cluster.launchers.cluster import ClusterLauncher
from rankbook.cluster.transport.channel import Channel
from rankbook.errors import ClusterError

__all__ = ["ProfileLauncher"]

_log = logging.getLogger(__name__)


class ProfileLauncher(ClusterLauncher):
    """Starts engines as configured in a profile's ``ipcluster_config.py``.

    Args:
        profile: Its name.
        nproc: Number of engines.

    Raises:
        ClusterError: There is no such profile, or its engines could not reach its controller.
    """

    def __init__(self, profile: str, nproc: int) -> None:
        super().__init__(Cluster(log=_log, n=nproc, profile_dir=str(profile_dir_of(profile))))
        self._profile = profile
        if _listens_on_loopback(self.cluster):
            for host in _hosts(self.cluster):
                self._refuse_loopback(host)

    def describe(self) -> str:
        """By the profile's name."""
        return f"the cluster of profile {self._profile!r}"

    def make_answer(self, channel: Channel) -> None:
        """Install agents: the engines are ipyparallel's own."""
        del channel
        install_agents(self.client)

    def _refuse_loopback(self, host: str) -> None:
        """Raise for any other host, which cannot reach our loopback."""
        own = address_to(host)
        with suppress(OSError):  # its name is not known here: then it is another host
            if socket.gethostbyname(host.rpartition("@")[2]) in (own, "127.0.0.1", "127.0.1.1"):
                return
        raise ClusterError(
            f"The controller of profile {self._profile!r} listens on loopback, which {host} cannot "
            f"reach: add c.Cluster.controller_ip = {own!r} to its ipcluster_config.py."
        )


def _listens_on_loopback(cluster: Cluster) -> bool:
    """Whether the engines would look for the controller on loopback, the default."""
    if any(word.partition("=")[0].endswith("ip") for word in cluster.controller_args):
        return False
    config = Path(cluster.profile_dir, "ipcontroller_config.py")
    with suppress(OSError):  # there is none
        if re.search(r"^\s*c\.IPController\.(engine_)?ip\b", config.read_text(), re.MULTILINE):
            return False
    return cluster.controller_ip in ("", "localhost") or cluster.controller_ip.startswith("127.")


def _hosts(cluster: Cluster) -> Iterator[str]:
    """Hosts on which the engines would start, as far as known."""
    kind = cluster.engine_launcher_class
    if issubclass(kind, SSHEngineSetLauncher):
        yield from cluster.config.SSHEngineSetLauncher.get("engines", {})
    elif issubclass(kind, SlurmLauncher):
        with suppress(ClusterError):  # sbatch explains it better
            yield from slurm.addresses()[:1]
