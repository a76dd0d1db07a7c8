"""The engines of one cluster: started here, or joined where they run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

from IPython.paths import get_ipython_dir

from rankbook.cluster.joining import facts_of, one_line
from rankbook.cluster.launchers.base import EngineEvent, Launcher, Progress, Ready
from rankbook.cluster.launchers.joined import JoinedLauncher
from rankbook.cluster.transport.channel import Channel
from rankbook.cluster.transport.messages import Wire
from rankbook.cluster.transport.wire import ClientWire
from rankbook.errors import ClusterError, RankbookError, SessionError
from rankbook.folders import where_full
from rankbook.models import EngineFacts
from rankbook.words import how_ended

__all__ = ["Pool"]

_OTHERS = 2.0
"""Seconds for the keeper to report an engine's end to others, before the controller does."""


class Pool:
    """Engines, the launcher that starts and ends them, and the channel to their agents.

    Make one with :meth:`start` or :meth:`join`.

    Args:
        launcher: The started launcher.
        wire: The wire to its engines.
    """

    def __init__(self, launcher: Launcher, wire: Wire) -> None:
        self.launcher = launcher
        self.wire = wire
        self.channel = Channel(wire)
        self.on_end: Callable[[int, int | None], None] = _ignore
        """Called with engine and status, in another thread, when an engine ends; the status is an
        exit code, or minus a signal, or None if unknown."""
        self._closed = False
        self.ended: dict[int, int | None] = {}  # engines, with such a status
        self._follow()

    # -- making one --------------------------------------------------------------------------

    @classmethod
    def start(cls, launcher: Launcher, nproc: int, progress: Progress | None = None) -> Pool:
        """Start a cluster and wait for its engines.

        Args:
            launcher: The launcher, not started.
            nproc: Number of engines.
            progress: Shows what the start waits for, and lets another thread give up.

        Raises:
            ClusterError: It did not come up, or its engines not within the launcher's patience.
                Nothing that was started is left running.
        """
        launcher.progress = progress or Progress()
        return cls._open(launcher, nproc)

    @classmethod
    def join(
        cls,
        *,
        profile: str | None = None,
        cluster_id: str | None = None,
        connection_file: str | Path | None = None,
        is_used: bool = True,
    ) -> Pool:
        """Join a cluster that runs.

        Args:
            profile: IPython profile whose cluster it is.
            cluster_id: As ``ipcluster list`` shows it.
            connection_file: ``ipcontroller-…-client.json``, instead of the two above.
            is_used: False where the keeper of a kept cluster itself joins, which is not a use.

        Raises:
            ClusterError: There is no such cluster, or it does not answer.
        """
        return cls._open(JoinedLauncher(profile, cluster_id, connection_file, is_used=is_used), 0)

    @classmethod
    def _open(cls, launcher: Launcher, nproc: int) -> Pool:
        pool = None
        try:
            pool = cls(launcher, ClientWire(launcher.start(nproc)))
            pool.wait_for(nproc, launcher.timeout)
        except BaseException as error:
            # A failure of the stop must not hide the reason.
            with suppress(Exception):
                (launcher.stop if pool is None else pool.close)()
            if isinstance(error, RankbookError) or not isinstance(error, Exception):
                raise
            why = where_full(error, {"IPYTHONDIR": get_ipython_dir()}) or one_line(error)
            raise ClusterError(f"The cluster did not start: {why}.") from error
        return pool

    # -- using it ----------------------------------------------------------------------------

    @property
    def cluster_id(self) -> str:
        """The id with which other notebooks join the cluster."""
        return self.launcher.cluster_id

    @property
    def engines(self) -> list[int]:
        """Ids of the engines that can be reached, ascending."""
        # The controller may announce an engine after its end: it does so at the second heartbeat.
        return sorted(set(self.wire.engines) - self.ended.keys())

    @property
    def is_owned(self) -> bool:
        """Whether :meth:`close` ends the engines."""
        return self.launcher.is_owned

    @property
    def can_replace(self) -> bool:
        """Whether :meth:`replace` can stop all engines and start others."""
        return self.launcher.can_replace

    @property
    def can_grow(self) -> bool:
        """Whether :meth:`grow` can add engines."""
        return self.launcher.can_add

    @property
    def instead(self) -> str:
        """What to run when an engine has ended and none can be added; else empty."""
        return "" if self.can_grow else self.launcher.instead

    def why_lost(self, engine: int) -> str:
        """Why an engine was ended from outside; empty if it was not, or the reason is unknown."""
        return self.launcher.why_lost(engine)

    def refuse_growth(self) -> None:
        """Raise if :meth:`grow` cannot add engines.

        Raises:
            ClusterError: It cannot; the message says what to do.
        """
        self.launcher.refuse_add()

    def grow(self, n: int, timeout: float = 60.0) -> None:
        """Start ``n`` more engines.

        Raises:
            ClusterError: The launcher cannot, or the engines did not come.
        """
        failure = f"Not all of {n} new engines started"
        self._wait_for_engines(n, timeout, failure, self.launcher.add(n))

    def end(self, engines: Collection[int], timeout: float = 10.0) -> None:
        """Kill engines, whatever they do, and wait until they are gone.

        Raises:
            ClusterError: They are still there.
        """
        self.launcher.end(engines)
        failure = f"Engines {sorted(engines)} did not end"
        self._wait(lambda: not set(engines) & set(self.engines), timeout, failure)

    def refuse_start(self, n: int | None = None, instead_of: Collection[int] = ()) -> None:
        """Raise if engines could not be started; see :meth:`.Launcher.refuse_start`."""
        self.launcher.refuse_start(n, instead_of)

    def replace(self, timeout: float = 60.0) -> None:
        """Stop all engines and start as many new ones.

        Raises:
            ClusterError: The launcher cannot, or the new engines did not come.
        """
        n = self.launcher.stop_engines()
        self._wait(lambda: not self.engines, timeout, "The old engines did not end")
        self._refuse_closed()
        try:
            new = self.launcher.start_engines(n)
        finally:
            self._follow()  # also what others may add when this has failed
        self.wait_for(n, timeout, new)
        self.launcher.keep_on()

    def wait_for(self, n: int, timeout: float, new: Collection[int] = ()) -> None:
        """Wait until ``n`` engines, the ``new`` ones if given, can be reached and answer.

        Raises:
            ClusterError: They do not within ``timeout`` seconds, or something ended meanwhile.
            SessionError: The pool was closed meanwhile.
        """
        failure = f"Not all {n} engines started; read the launcher's log, or ask for fewer"
        if n:  # in a joined cluster none is awaited, and some may have ended
            self._wait_for_engines(n, timeout, failure, new)
        self.launcher.make_answer(self.channel)

    def facts(self, engines: Iterable[int] | None = None) -> list[EngineFacts]:
        """Ask some engines, or all, for their facts; see :func:`.facts_of`."""
        asked = self.engines if engines is None else engines
        return facts_of(self.channel, asked, self.launcher.address or self.wire.address)

    def last_words(self, engine: int) -> list[str]:
        """The last lines of an engine that bypassed Python, oldest first; none if unknown."""
        return self.launcher.log_tail(engine)

    @property
    def is_kept(self) -> bool:
        """Whether the cluster stays when this process ends."""
        return self.launcher.user is not None

    def keep(self, hours: float, ranks: int) -> None:
        """Have the cluster stay when this process ends, until it is idle for some hours.

        Raises:
            ClusterError: Clusters of this kind are not kept.
        """
        self.launcher.keep(hours, ranks)

    def close(self, *, leave: bool = False) -> None:
        """Stop a cluster that was started here or is kept; leave a joined one. Idempotent.

        Args:
            leave: Leave a kept one, too.
        """
        was_closed, self._closed = self._closed, True
        if was_closed:
            return
        self.on_end = _ignore
        self.channel.close()
        self.wire.close()
        if leave and self.is_kept:
            self.launcher.leave()
        else:
            self.launcher.let_go()
            self.launcher.stop()

    def _wait_for_engines(self, n: int, timeout: float, failure: str, new: Collection[int]) -> None:
        def came() -> bool:
            self._refuse_ended(new or self.ended)
            # By ids, not by number: an engine that has just ended may still be counted.
            return set(new) <= set(self.engines) if new else len(self.engines) >= n

        self._wait(came, timeout, failure)

    def _wait(self, condition: Callable[[], bool], timeout: float, failure: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            self.launcher.progress.refuse_cancelled()
            self._refuse_closed()
            self.launcher.check()
            if time.monotonic() > deadline:
                raise ClusterError(f"{failure} (within {timeout:g} s).")
            time.sleep(0.005)

    def _refuse_ended(self, awaited: Collection[int]) -> None:
        for engine in set(awaited) & set(self.ended):
            self.launcher.check()  # it may know the first cause
            why = self.why_lost(engine) or "".join(self.last_words(engine)[-1:])
            how = f"{how_ended(self.ended[engine])} while it started"
            raise ClusterError(f"Engine {engine} {how}{f': {why}' if why else ''}.")

    def _refuse_closed(self) -> None:
        if self._closed:
            raise SessionError("The session was shut down meanwhile.")

    def _follow(self) -> None:
        """Follow the launcher's reports about its engines from now on, in a thread."""
        events = self.launcher.events()

        def take_all() -> None:
            for event in events:
                self._take(event)

        threading.Thread(target=take_all, name="rankbook-engines", daemon=True).start()

    def _take(self, event: EngineEvent) -> None:
        if isinstance(event, Ready):
            self.channel.know({event.engine: event.uuid})
            return
        self.ended[event.engine] = event.status
        # In this order: a caller that waits for the engine must learn how it ended.
        self.on_end(event.engine, event.status)
        self.channel.engine_gone(event.engine)
        # Other users of a kept cluster must not learn of it from the controller first, which does
        # not know how it ended.
        self.wire.unregister(event.engine, _OTHERS if self.is_kept else 0.0)


def _ignore(engine: int, status: int | None) -> None:
    """Ignore the end of an engine."""
