"""Engines that another program started, and that stay when the pool is closed."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipyparallel

from rankbook.cluster.joining import connection_file_of, one_line, wake_agents
from rankbook.cluster.keeping import kept
from rankbook.cluster.launchers.base import Ended, EngineEvent, LastWords, Launcher, Ready
from rankbook.cluster.launchers.forking import log_tail
from rankbook.cluster.transport.channel import Channel
from rankbook.errors import ClusterError

if TYPE_CHECKING:
    from rankbook.models.calls import LastCalls

__all__ = ["JoinedLauncher"]

_END = 20.0
"""Seconds for a kept cluster to end."""

_NEXT = 30.0
"""Seconds for another keeper to replace one, once its engines have come."""

_INSTEAD_IN_KEPT = (
    "run %dist_shutdown (or shutdown()), which ends this kept cluster with all variables, then "
    "%dist_init --keep."
)

ANNOUNCED = 5.0
"""Seconds for the controller to announce living engines: it does so at their second heartbeat."""

_CONNECT_TIMEOUT = 10.0
"""Seconds for the controller to answer a client."""


class JoinedLauncher(Launcher):
    """Finds a running cluster.

    Args:
        profile: IPython profile whose cluster it is.
        cluster_id: As ``ipcluster list`` shows it.
        connection_file: ``ipcontroller-…-client.json``, instead of the two above.
        is_used: Whether the keeper of a kept cluster counts this as use, and reports events. False
            where the keeper itself asks.

    Raises:
        ClusterError: There is no such profile.
    """

    is_owned = False

    def __init__(
        self,
        profile: str | None = None,
        cluster_id: str | None = None,
        connection_file: str | Path | None = None,
        *,
        is_used: bool = True,
    ) -> None:
        self._path = Path(connection_file or connection_file_of(profile, cluster_id))
        self._what = f"cluster {cluster_id!r}" if cluster_id else f"cluster at {self._path}"
        self.cluster_id = cluster_id or str(self._path)
        self._is_used = is_used
        self._followed: kept.Follower | None = None
        self._forkers = 0
        self._living: set[int] = set()
        self._ended: set[int] = set()
        self._last = LastWords()
        self._lost: dict[int, str] = {}
        self._caught_up = threading.Event()
        self._is_closed = False

    def describe(self) -> str:
        """By its id, or its connection file."""
        return f"the joined {self._what}"

    def start(self, n: int = 0) -> ipyparallel.Client:
        """Connect to the controller. Nothing is started, unless all of a kept cluster has ended.

        Raises:
            ClusterError: There is no such cluster, it does not answer, or it has no engines and
                none can be started.
        """
        del n
        try:
            if not self._path.exists():
                raise ClusterError(
                    f"There is no {self._what}: `ipcluster list` shows those that run."
                )
            client = ipyparallel.Client(str(self._path), timeout=_CONNECT_TIMEOUT)
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ClusterError(
                f"{self._path} is no connection file: take an ipcontroller-…-client.json."
            ) from error
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"The cluster does not answer ({one_line(error)}): is its controller running?"
            ) from error
        self.client = client
        try:
            if self._is_used:
                self._use_keeper()
            self._await_engines()
        except BaseException:
            self.leave()
            client.close(linger=0)
            raise
        return client

    def _use_keeper(self) -> bool:
        """Connect to the keeper, if the cluster is kept; return whether it is."""
        user = kept.find(self._path)
        if user is None:
            return False
        try:
            self._followed = user.follow()
        except ClusterError:
            user.close()
            raise
        self.user, self.instead = user, _INSTEAD_IN_KEPT
        self._forkers = self._followed.state["forkers"]
        self._living = set(self._followed.state["living"])
        return True

    def _await_engines(self) -> None:
        """Raise if there are no engines; in a kept cluster that has lost all, start as many."""
        patience = ANNOUNCED
        if self._followed is not None and not self._living and self.can_add:
            self.add(self._followed.state["size"])
            patience = self.timeout
        until = time.monotonic() + patience
        # Those that the controller does not announce in time are taken for ended.
        while not self._living <= set(self.client.ids) and time.monotonic() < until:
            time.sleep(0.02)
        if not self.client.ids:
            raise ClusterError("The cluster has no engines: start some, then join again.")

    # -- in a kept cluster, by its keeper ----------------------------------------------------

    @property
    def can_add(self) -> bool:  # type: ignore[override]
        """Whether a process that forks engines is alive there."""
        return self._forkers > 0

    @property
    def can_replace(self) -> bool:
        """Whether all engines can be replaced."""
        return self.can_add

    def add(self, n: int) -> set[int]:
        """Have ``n`` more engines forked; return their ids."""
        if self.user is None:
            return super().add(n)
        new = self.user.add(n)
        self._living |= new
        return new

    def end(self, engines: Collection[int]) -> None:
        """Have engines killed."""
        if self.user is None:
            super().end(engines)
        else:
            self.user.kill(engines)

    def stop_engines(self) -> int:
        """Have all engines killed; return how many there were, at least 1."""
        if not self.can_replace:
            return super().stop_engines()
        engines = self._living.copy()
        self.end(engines)
        return max(1, len(engines))

    def start_engines(self, n: int) -> set[int]:
        """Have ``n`` engines forked; return their ids."""
        return self.add(n)

    def events(self) -> Iterator[EngineEvent]:
        """The keeper's events of the engines, first the ends of those that ended before.

        The controller may list these still, or announce them later. It goes on when all engines
        have been replaced: a second call returns nothing.
        """
        if self._followed is None or self._caught_up.is_set():
            return
        while True:
            state = self._followed.state
            gone = set(range(state["next"])) - set(state["living"]) - self._ended
            statuses = state.get("ended", {})
            yield from (self._end(engine, statuses.get(str(engine))) for engine in sorted(gone))
            self._caught_up.set()
            for event in self._followed.events():
                yield from self._read(event)
            if not self._find_next():
                return

    def _find_next(self) -> bool:
        """Connect to the keeper that replaces one; return whether there is one.

        The cluster's owner starts another keeper for new processes, such as when a host is back.
        """
        self._forkers = 0
        until = time.monotonic() + _NEXT
        while not self._is_closed and time.monotonic() < until:
            with suppress(ClusterError):  # there is none yet
                if self._use_keeper():
                    return True
            time.sleep(0.1)
        return False

    def _read(self, event: dict[str, Any]) -> Iterator[EngineEvent]:
        if event["event"] == "ready":
            self._living.add(event["engine"])
            yield Ready(event["engine"], event["uuid"])
        elif event["event"] == "ended":
            self._last.take(event)
            yield self._end(event["index"], event["status"])
        elif event["event"] == "lost":
            self._forkers = event["forkers"]
            for engine in event["engines"]:
                if event["why"]:
                    self._lost[engine] = event["why"]
                yield self._end(engine, None if event["why"] else -signal.SIGKILL)

    def _end(self, engine: int, status: int | None) -> Ended:
        self._living.discard(engine)
        self._ended.add(engine)
        return Ended(engine, status)

    def why_lost(self, engine: int) -> str:
        """The reason why an engine ended together with the process that started it."""
        return self._lost.get(engine, "")

    def log_tail(self, engine: int) -> list[str]:
        """The last lines of an engine's log."""
        log = "" if self._followed is None else self._followed.state["log"]
        return log_tail(log, engine) if log else self._last.lines(engine)

    def last_calls(self, engine: int) -> LastCalls | None:
        """What an engine called and printed last."""
        return self._last.calls(engine)

    # -- ending ------------------------------------------------------------------------------

    def leave(self) -> None:
        """Let a kept cluster go on without this process."""
        self._is_closed = True
        super().leave()
        if self._followed is not None:
            self._followed.close()

    def let_go(self) -> None:
        """End a kept cluster, and wait for its end."""
        self._is_closed = True
        super().let_go()
        if self._followed is not None:
            self._followed.close()
        until = time.monotonic() + _END
        while self.user is not None and self._path.exists() and time.monotonic() < until:
            time.sleep(0.02)

    def make_answer(self, channel: Channel) -> None:
        """Install agents in engines without one; those of a kept cluster have one."""
        if self._followed is not None:
            self._caught_up.wait(_CONNECT_TIMEOUT)
        elif self._is_used:
            wake_agents(self.client, channel)
