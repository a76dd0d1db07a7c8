"""Launchers whose cluster is one of ipyparallel's, started here."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankbook.cluster import kept
from rankbook.cluster.launchers.base import Launcher

if TYPE_CHECKING:
    import ipyparallel
    from ipyparallel.cluster.cluster import Cluster

    from rankbook.cluster.warm import WarmProcess

__all__ = ["ClusterLauncher", "beside_loops"]


class ClusterLauncher(Launcher):
    """A launcher whose cluster is one of ipyparallel's, started here.

    Args:
        cluster: Configured, and not started.
    """

    instead = (
        "%dist_reset --hard (or reset(hard=True)) gives all ranks new processes; their variables "
        "are lost."
    )

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._kept: tuple[float, int] | None = None
        self.cluster_id = str(cluster.cluster_id)
        self.timeout = float(cluster.engine_timeout)

    def start(self, n: int) -> ipyparallel.Client:
        """Start controller and engines, and connect to the controller."""
        self.cluster.start_controller_sync()
        self.start_engines(n)
        return self.connect()

    def connect(self) -> ipyparallel.Client:
        """Make the client that :meth:`start` returns."""
        self.client = self.cluster.connect_client_sync()
        return self.client

    def start_engines(self, n: int, **options: Any) -> None:
        """Start engines beside a controller that runs."""
        beside_loops(lambda: self.cluster.start_engines_sync(n, **options))

    def stop_engines(self) -> int:
        """Stop all engines; return how many there were, at least 1."""
        n: int = max(1, sum(engines.n for engines in self.cluster.engines.values()))
        beside_loops(self.cluster.stop_engines_sync)
        return n

    def processes(self) -> list[WarmProcess]:
        """Those that end when this process ends; none where that is not known."""
        return []

    def keep(self, hours: float, ranks: int) -> None:
        """Start a keeper that holds what these processes hold on to."""
        processes = self.processes()
        if not processes:
            super().keep(hours, ranks)
        pipes = [p for each in processes for p in (each.process.stdin, each.process.stdout) if p]
        file = Path(self.cluster.controller.connection_files["client"])
        entry = kept.Kept(
            self.cluster_id, socket.gethostname(), ranks, self.describe(), time.time(), hours
        )
        lifeline = self.cluster.controller.lifeline
        self.user = kept.keep(entry, file, [p.fileno() for p in (lifeline, *pipes)])
        self.cluster.shutdown_atexit = False
        self._kept = hours, ranks

    def keep_on(self) -> None:
        """Start another keeper: the present one does not hold new processes."""
        if self._kept is not None:
            self.let_go()
            self.keep(*self._kept)

    def stop(self) -> None:
        """Stop controller and engines."""
        beside_loops(self.cluster.stop_cluster_sync)


def beside_loops(work: Callable[[], object]) -> None:
    """Call ipyparallel in a thread that runs no event loop; the main thread of a kernel runs one.

    Beside a running loop, ipyparallel starts another thread with another loop, and never ends them.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        work()
        return
    with ThreadPoolExecutor(1, "rankbook-beside") as executor:
        executor.submit(work).result()
