"""The common part of launchers that start an ipyparallel cluster here."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from rankbook.cluster.keeping import kept
from rankbook.cluster.keeping.held import Forker, Holding
from rankbook.cluster.launchers.base import Launcher
from rankbook.errors import ClusterError
from rankbook.words import sentence_start

if TYPE_CHECKING:
    import ipyparallel
    from ipyparallel.cluster.cluster import Cluster

    from rankbook.cluster.processes.warm import WarmProcess

__all__ = ["ClusterLauncher", "Forking", "beside_loops"]


@dataclass(frozen=True)
class Forking:
    """A process that forks engines."""

    process: WarmProcess
    engines: Collection[int]
    """Those that live, or are being started."""
    why_lost: str = ""
    """Why the engines have ended when it has, in words; empty: they were killed with it."""
    seats: int = 0
    """Number of engines that it should have."""


class ClusterLauncher(Launcher):
    """A launcher that starts an ipyparallel cluster here.

    Args:
        cluster: The configured cluster, not started.
    """

    instead = (
        "%dist_reset --hard (or reset(hard=True)) gives all ranks new processes; their variables "
        "are lost."
    )

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        _clusters.add(cluster)
        self._kept: tuple[float, int] | None = None
        self._keeping = threading.RLock()
        self._held: list[WarmProcess] = []
        self.cluster_id = str(cluster.cluster_id)
        self.timeout = float(cluster.engine_timeout)

    def start(self, n: int) -> ipyparallel.Client:
        """Start controller and engines, and connect to the controller."""
        self.cluster.start_controller_sync()
        self.start_engines(n)
        return self.connect()

    def connect(self) -> ipyparallel.Client:
        """Make the client that :meth:`start` returns, when the controller is up."""
        self.progress.meanwhile()
        self.client = self.cluster.connect_client_sync()
        return self.client

    def start_engines(self, n: int, **options: Any) -> set[int]:
        """Start engines for a running controller, which gives them their ids."""
        beside_loops(lambda: self.cluster.start_engines_sync(n, **options))
        return set()

    def stop_engines(self) -> int:
        """Stop all engines; return how many there were, at least 1."""
        n: int = max(1, sum(engines.n for engines in self.cluster.engines.values()))
        beside_loops(self.cluster.stop_engines_sync)
        return n

    def forking(self) -> Sequence[Forking]:
        """The processes that fork engines; none where unknown."""
        return []

    def how_to_fork(self) -> tuple[dict[str, Any], int]:
        """The command that forks engines, and the id of the next; empty where none can."""
        return {}, 0

    def fork(self, n: int) -> set[int]:
        """Have ``n`` more engines forked; return their ids.

        Raises:
            ClusterError: This launcher cannot.
        """
        raise NotImplementedError(n)

    def add(self, n: int) -> set[int]:
        """Have ``n`` more engines forked, by the keeper in a kept cluster; return their ids."""
        self.refuse_add()
        if self.user is None:
            return self.fork(n)
        self.keep_on()
        return self.user.add(n)

    def keep(self, hours: float, ranks: int) -> None:
        """Start a keeper that holds the lifelines of these processes, and reads their output."""
        forking = self.forking()
        if not forking:
            super().keep(hours, ranks)
        file = Path(self.cluster.controller.connection_files["client"])
        entry = kept.Kept(
            self.cluster_id, socket.gethostname(), ranks, self.describe(), time.time(), hours
        )
        try:
            with ExitStack() as relays:
                lent = [relays.enter_context(one.process.lend()) for one in forking]
                self.user = kept.keep(entry, file, self._holding(forking, lent))
        except OSError as error:
            what = sentence_start(self.describe())
            raise ClusterError(
                f"{what} cannot be kept: a process that engines are forked from has ended."
            ) from error
        self.cluster.shutdown_atexit = False
        self._kept = hours, ranks
        self._held = [one.process for one in forking]
        threading.Thread(
            target=self._succeed, args=(self.user,), name="rankbook-keeper", daemon=True
        ).start()

    def _succeed(self, user: kept.User) -> None:
        """Start another keeper when the present one has ended unexpectedly."""
        user.wait_for_end()
        with self._keeping, suppress(ClusterError):  # then it ends with this notebook
            if self.user is user:
                self.keep_on()

    def _holding(self, forking: Sequence[Forking], relays: Sequence[socket.socket]) -> Holding:
        forkers = [
            Forker(
                one.why_lost,
                one.seats,
                tuple(sorted(one.engines)),
                *one.process.fds(),
                relay.fileno(),
            )
            for one, relay in zip(forking, relays, strict=True)
        ]
        lifeline = self.cluster.controller.lifeline.fileno()
        return Holding(lifeline, tuple(forkers), *self.how_to_fork())

    def keep_on(self) -> None:
        """Start another keeper if the present one has ended, or does not hold all processes."""
        with self._keeping:
            if self._kept is None or self.user is None:
                return
            if self.user.is_gone or self._held != [one.process for one in self.forking()]:
                super().let_go()
                self.keep(*self._kept)

    def let_go(self) -> None:
        """Stop keeping the cluster; idempotent."""
        with self._keeping:
            self._kept = None
            super().let_go()

    def leave(self) -> None:
        """Let a kept cluster go on without this process."""
        with self._keeping:
            self._kept = None
        for one in self.forking():
            one.process.leave()
        self.cluster.controller.lifeline.close()
        super().leave()

    def stop(self) -> None:
        """Stop controller and engines."""
        beside_loops(self.cluster.stop_cluster_sync)


def beside_loops(work: Callable[[], object]) -> None:
    """Call ipyparallel in a thread without an event loop; the main thread of a kernel runs one.

    If a loop is running, ipyparallel starts another thread with another loop, and never ends them.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        work()
        return
    with ThreadPoolExecutor(1, "rankbook-beside") as executor:
        executor.submit(work).result()


_clusters: WeakSet[Cluster] = WeakSet()


def _in_fork() -> None:
    """Leave the clusters to the process that started them, when this fork of it exits."""
    for cluster in _clusters:
        cluster.shutdown_atexit = False


os.register_at_fork(after_in_child=_in_fork)
