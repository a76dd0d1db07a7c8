"""Engines that somebody else has started, and that stay when the pool is closed."""

from __future__ import annotations

import time
from pathlib import Path

import ipyparallel

from rankbook.cluster import kept
from rankbook.cluster.channel import Channel
from rankbook.cluster.joining import connection_file_of, one_line, wake_agents
from rankbook.cluster.launchers.base import Launcher
from rankbook.errors import ClusterError

__all__ = ["JoinedLauncher"]

_END = 20.0
"""Seconds for a cluster that was kept to end."""

_INSTEAD_IN_KEPT = (
    "%dist_shutdown (or shutdown()) ends this kept cluster, with all variables; "
    "%dist_init --keep then starts another."
)

_CONNECT_TIMEOUT = 10.0
"""Seconds for the controller to answer a client."""


class JoinedLauncher(Launcher):
    """Finds a cluster that runs.

    Args:
        profile: IPython profile whose cluster it is.
        cluster_id: As ``ipcluster list`` shows it.
        connection_file: ``ipcontroller-…-client.json``, instead of the two above.

    Raises:
        ClusterError: There is no such profile.
    """

    is_owned = False

    def __init__(
        self,
        profile: str | None = None,
        cluster_id: str | None = None,
        connection_file: str | Path | None = None,
    ) -> None:
        self._path = Path(connection_file or connection_file_of(profile, cluster_id))
        self._what = f"cluster {cluster_id!r}" if cluster_id else f"cluster at {self._path}"
        self.cluster_id = cluster_id or str(self._path)

    def describe(self) -> str:
        """By its id, or its connection file."""
        return f"the joined {self._what}"

    def start(self, n: int = 0) -> ipyparallel.Client:
        """Connect to the controller; nothing is started.

        Raises:
            ClusterError: There is no such cluster, it does not answer, or it has no engines.
        """
        del n
        try:
            if not self._path.exists():
                raise ClusterError(
                    f"There is no {self._what}: `ipcluster list` shows those that run."
                )
            client = ipyparallel.Client(str(self._path), timeout=_CONNECT_TIMEOUT)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"The cluster does not answer ({one_line(error)}): is its controller running?"
            ) from error
        if not client.ids:
            client.close(linger=0)
            raise ClusterError("The cluster has no engines: start some, then join again.")
        self.client = client
        self.user = kept.find(self._path)
        if self.user is not None:
            self.instead = _INSTEAD_IN_KEPT
        return client

    def let_go(self) -> None:
        """End a cluster that was kept, and wait for its end."""
        super().let_go()
        until = time.monotonic() + _END
        while self.user is not None and self._path.exists() and time.monotonic() < until:
            time.sleep(0.02)

    def make_answer(self, channel: Channel) -> None:
        """Install agents in the engines that have none yet."""
        wake_agents(self.client, channel)
