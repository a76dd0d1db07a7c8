"""The contract between a pool and its launcher."""

from __future__ import annotations

import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from rankbook.errors import ClusterError

if TYPE_CHECKING:
    import ipyparallel

    from rankbook.cluster.keeping.kept import User
    from rankbook.cluster.launchers.limit import TimeLimit
    from rankbook.cluster.transport.channel import Channel
    from rankbook.models.calls import LastCalls

__all__ = [
    "Ended",
    "EngineEvent",
    "LastWords",
    "Launcher",
    "Progress",
    "Ready",
]


@dataclass(frozen=True)
class Ready:
    """An engine answers requests."""

    engine: int
    uuid: str
    """The address of messages to it."""


@dataclass(frozen=True)
class Ended:
    """An engine's process has ended."""

    engine: int
    status: int | None
    """Its exit code, or minus the signal that killed it; None if unknown."""


EngineEvent: TypeAlias = Ready | Ended


class LastWords:
    """What processes that fork engines have told of those that have ended."""

    def __init__(self) -> None:
        self._told: dict[int, Mapping[str, Any]] = {}

    def take(self, ended: Mapping[str, Any]) -> None:
        """Keep the event of an engine's end; see :mod:`rankbook.engine.starting.server`."""
        self._told[ended["index"]] = ended

    def lines(self, engine: int) -> list[str]:
        """The last lines of its log."""
        return list(self._told.get(engine, {}).get("words", ()))

    def calls(self, engine: int) -> LastCalls | None:
        """What it called and printed last."""
        from rankbook.models import load
        from rankbook.models.calls import LastCalls

        last = self._told.get(engine, {}).get("last")
        return load(LastCalls, last) if last else None


@dataclass
class Progress:
    """A start in progress: what it waits for, and whether to go on. Shared between two threads."""

    waits_for: str = ""
    """In words, for a user; empty while it goes on."""
    meanwhile: Callable[[], object] = int
    """Work for the time while processes start. It may be called more than once."""
    cancelled: threading.Event = field(default_factory=threading.Event)

    def refuse_cancelled(self) -> None:
        """Raise if the start was given up.

        Raises:
            ClusterError: It is.
        """
        if self.cancelled.is_set():
            raise ClusterError("The start was interrupted.")


class Launcher(ABC):
    """Starts the engines of one pool, or finds them, and reports their fate."""

    is_owned = True
    """Whether the engines end with the pool."""
    user: User | None = None
    """The connection to what keeps the cluster, if it stays when the kernel ends."""
    can_add = False
    """Whether :meth:`add` can start more engines."""

    @property
    def can_replace(self) -> bool:
        """Whether :meth:`stop_engines` can stop all engines, to start others."""
        return self.is_owned

    timeout = 60.0
    """Seconds that engines may take to come."""
    cluster_id: str
    """The id with which other notebooks join the cluster."""
    client: ipyparallel.Client
    """What :meth:`start` returned."""
    leaving: Collection[int] = ()
    """Engines that are about to end, since something else has told their host's process to."""
    limit: TimeLimit | None = None
    """When the engines end by themselves, if that is known."""
    instead = ""
    """A sentence on what to run when an engine has ended and none can be added."""
    address = ""
    """This host's address as the engines reach it; empty where only the client knows."""
    progress = Progress()
    """The progress of the start; set by the pool."""

    @abstractmethod
    def describe(self) -> str:
        """Name the cluster in a message: ``the local cluster``, ``the cluster of profile 'x'``."""

    @abstractmethod
    def start(self, n: int) -> ipyparallel.Client:
        """Start a controller and ``n`` engines, or find running ones; return a client.

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
            ClusterError: This launcher cannot, or no longer can.
        """
        self.refuse_add()
        raise NotImplementedError(n)

    def end(self, engines: Collection[int]) -> None:
        """Kill engines, whatever they do; does not wait for their end.

        Raises:
            ClusterError: The process that could do it is gone.
        """
        # Through ipyparallel's process that watches each of them.
        self.client.send_signal(signal.SIGKILL, targets=sorted(engines), block=False)

    def refuse_start(  # noqa: B027 - most cannot tell
        self, n: int | None = None, instead_of: Collection[int] = ()
    ) -> None:
        """Raise if ``n`` engines could not be started; ends nothing.

        Args:
            n: How many; None: as many as the cluster was made for.
            instead_of: Engines that would be ended first, and may still run.

        Raises:
            ClusterError: For example, a needed host cannot be reached.
        """

    def stop_engines(self) -> int:
        """Stop all engines; return how many there were, at least 1.

        Raises:
            ClusterError: This session must not stop them.
        """
        raise ClusterError(
            f"The engines of {self.describe()} were started elsewhere and cannot be replaced here."
        )

    def start_engines(self, n: int) -> set[int]:
        """Start ``n`` engines where :meth:`stop_engines` has stopped all.

        Returns:
            Their ids, which no engine had before; empty where only the controller gives them.

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
        """Keep engines started since :meth:`keep`, too."""

    def leave(self) -> None:
        """Let a kept cluster go on without this process."""
        if self.user is not None:
            self.user.close()

    def let_go(self) -> None:
        """Stop keeping the cluster; idempotent."""
        if self.user is not None:
            self.user.end()

    def stop(self) -> None:  # noqa: B027 - most have nothing to do
        """Stop what :meth:`start` started; idempotent."""

    def make_answer(self, channel: Channel) -> None:  # noqa: B027 - most have nothing to do
        """Make arrived engines answer requests, where they do not by themselves.

        Raises:
            EngineError: One of them cannot; the message names its host.
        """

    def check(self) -> None:  # noqa: B027 - most have nothing to do
        """Raise if the awaited engines can no longer come.

        Raises:
            ClusterError: The message says what has ended, and how.
        """

    def events(self) -> Iterator[EngineEvent]:
        """Events of the engines started last, as they happen; ends when all have ended.

        Empty where only the controller knows their fate.
        """
        return iter(())

    def why_lost(self, engine: int) -> str:
        """Why an engine was ended from outside, such as its host's loss; empty if unknown."""
        del engine
        return ""

    def last_calls(self, engine: int) -> LastCalls | None:
        """What an engine that has ended called and printed last, if its host has told that."""
        del engine
        return None

    def log_tail(self, engine: int) -> list[str]:
        """The last lines of an engine that bypassed Python, oldest first; none if unknown."""
        del engine
        return []
