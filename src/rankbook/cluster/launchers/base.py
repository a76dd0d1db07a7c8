"""What a pool needs of a launcher, whatever starts its engines."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rankbook.errors import ClusterError

if TYPE_CHECKING:
    import ipyparallel
    from ipyparallel.cluster.cluster import Cluster

    from rankbook.cluster.channel import Channel
    from rankbook.cluster.kept import User
    from rankbook.cluster.limit import TimeLimit
    from rankbook.cluster.warm import WarmProcess

__all__ = [
    "ClusterLauncher",
    "Ended",
    "EngineEvent",
    "Launcher",
    "Progress",
    "Ready",
    "beside_loops",
]


@dataclass(frozen=True)
class Ready:
    """An engine answers requests."""

    engine: int
    uuid: str
    """What messages to it are addressed to."""


@dataclass(frozen=True)
class Ended:
    """An engine's process has ended."""

    engine: int
    status: int | None
    """Its exit code, or minus the signal that killed it; None where nobody knows."""


EngineEvent: TypeAlias = Ready | Ended


@dataclass
class Progress:
    """A start on its way: what it waits for, and whether to go on. Shared between two threads."""

    waits_for: str = ""
    """In words, for a person; empty while it goes on."""
    cancelled: threading.Event = field(default_factory=threading.Event)

    def refuse_cancelled(self) -> None:
        """Raise if the start is to be given up.

        Raises:
            ClusterError: It is.
        """
        if self.cancelled.is_set():
            raise ClusterError("The start was interrupted.")


class Launcher(ABC):
    """Starts the engines of one pool, or finds them, and reports what becomes of them."""

    is_owned = True
    """Whether the engines end with the pool."""
    user: User | None = None
    """The connection to what keeps the cluster, if it stays when the kernel ends."""
    can_add = False
    """Whether :meth:`add` can start more engines."""
    timeout = 60.0
    """Seconds that engines may take to come."""
    cluster_id: str
    """What other notebooks join the cluster by."""
    client: ipyparallel.Client
    """What :meth:`start` returned."""
    limit: TimeLimit | None = None
    """When the engines end by themselves, if that is known."""
    instead = ""
    """What to run, in a sentence, when an engine has ended and none can be added."""
    address = ""
    """This host's address as the engines reach it; empty where only the client knows."""
    progress = Progress()
    """Of the start; the pool sets it."""

    @abstractmethod
    def describe(self) -> str:
        """Name the cluster in a message: ``the local cluster``, ``the cluster of profile 'x'``."""

    @abstractmethod
    def start(self, n: int) -> ipyparallel.Client:
        """Start a controller and ``n`` engines, or find those that run; return a client of them.

        It does not wait for the engines.

        Raises:
            ClusterError: That is not possible; the message says why.
        """

    def refuse_add(self) -> None:
        """Raise if :meth:`add` can start no engines here.

        Raises:
            ClusterError: It cannot.
        """
        if not self.can_add:
            raise ClusterError(
                f"This cluster has {len(self.client.ids)} engines and rankbook cannot add to it: "
                "ask for as many ranks or fewer, or start more engines."
            )

    def add(self, n: int) -> set[int]:
        """Start ``n`` more engines; return their ids, which no engine had before.

        Raises:
            ClusterError: This launcher cannot, or not any more.
        """
        self.refuse_add()
        raise NotImplementedError(n)

    def end(self, engines: Collection[int]) -> None:
        """Kill engines, whatever they do; does not wait for their end.

        Raises:
            ClusterError: The process that could is gone.
        """
        # Through the process of ipyparallel's that watches each of them.
        self.client.send_signal(signal.SIGKILL, targets=sorted(engines), block=False)

    def stop_engines(self) -> int:
        """Stop all engines; return how many there were, at least 1.

        Raises:
            ClusterError: They are not ours to stop.
        """
        raise ClusterError(
            f"The engines of {self.describe()} were started elsewhere and cannot be replaced here."
        )

    def start_engines(self, n: int) -> None:
        """Start ``n`` engines where :meth:`stop_engines` has stopped all.

        Raises:
            ClusterError: That is not possible; the message says why.
        """
        raise NotImplementedError(n)

    def keep(self, hours: float, ranks: int) -> None:
        """Have the cluster stay when this process ends, until it is idle for some hours.

        Raises:
            ClusterError: This launcher cannot.
        """
        del hours, ranks
        raise ClusterError(f"rankbook does not keep {self.describe()}.")

    def keep_on(self) -> None:  # noqa: B027 - most have nothing to do
        """Have what was started since :meth:`keep` stay, too."""

    def leave(self) -> None:
        """Let a kept cluster go on without this process."""
        if self.user is not None:
            self.user.close()

    def let_go(self) -> None:
        """Have nothing stay any more that was kept; idempotent."""
        if self.user is not None:
            self.user.end()

    def stop(self) -> None:  # noqa: B027 - most have nothing to do
        """Stop what :meth:`start` started; idempotent."""

    def make_answer(self, channel: Channel) -> None:  # noqa: B027 - most have nothing to do
        """Make engines that have come answer requests, where they do not by themselves.

        Raises:
            EngineError: One of them cannot; the message names its host.
        """

    def check(self) -> None:  # noqa: B027 - most have nothing to do
        """Raise if the engines that are awaited cannot come any more.

        Raises:
            ClusterError: The message says what has ended, and how.
        """

    def events(self) -> Iterator[EngineEvent]:
        """What becomes of the engines started last, as it happens; exhausted when all have ended.

        Nothing where only the controller knows what becomes of them.
        """
        return iter(())

    def why_lost(self, engine: int) -> str:
        """Why an engine ended that did not end by itself, a host's loss, say; empty if unknown."""
        del engine
        return ""

    def log_tail(self, engine: int) -> list[str]:
        """The last lines that an engine wrote past Python, oldest first; none if unknown."""
        del engine
        return []


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
        from rankbook.cluster import kept

        pipes = [p for each in processes for p in (each.process.stdin, each.process.stdout) if p]
        file = Path(self.cluster.controller.connection_files["client"])
        what = kept.Kept(
            self.cluster_id, socket.gethostname(), ranks, self.describe(), time.time(), hours
        )
        lifeline = self.cluster.controller.lifeline
        self.user = kept.keep(what, file, [p.fileno() for p in (lifeline, *pipes)])
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
