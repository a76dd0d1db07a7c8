"""The engines of one cluster: started here, or joined where they run."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import ipyparallel
from ipyparallel.cluster.cluster import Cluster

from rankbook.cluster.channel import Channel, everyone
from rankbook.cluster.joining import (
    connection_file_of,
    install_agents,
    one_line,
    profile_dir_of,
    wake_agents,
)
from rankbook.cluster.launchers import LocalController, LocalEngines
from rankbook.cluster.warm import WarmProcess
from rankbook.cluster.wire import ClientWire
from rankbook.errors import ClusterError, RankbookError, SessionError
from rankbook.models import EngineFacts, how_ended, load
from rankbook.models.requests import SayFacts

__all__ = ["Pool"]

_log = logging.getLogger(__name__)

_CONNECT_TIMEOUT = 10.0
"""Seconds for the controller to answer a client."""


class Pool:
    """Engines, the client that reaches them, and the channel to their agents.

    Make one with :meth:`start` or :meth:`join`.
    """

    def __init__(
        self,
        client: ipyparallel.Client,
        cluster: Cluster | None,
        cancelled: threading.Event | None = None,
        joined_by: str = "",
    ) -> None:
        self.client = client
        self.cluster = cluster
        self.cluster_id = str(cluster.cluster_id) if cluster else joined_by
        """What other notebooks join it by."""
        self._cancelled = cancelled or threading.Event()
        self._closed = False
        self.wire = ClientWire(client)
        self.channel = Channel(self.wire)
        self.on_end: Callable[[int, int], None] = _ignore
        self._listen()

    # -- making one --------------------------------------------------------------------------

    @classmethod
    def start(
        cls,
        nproc: int,
        *,
        profile: str | None = None,
        gpus: str = "",
        warm: WarmProcess | None = None,
        cancelled: threading.Event | None = None,
    ) -> Pool:
        """Start a cluster and wait for its engines.

        Args:
            nproc: Number of engines.
            profile: An IPython profile whose ``ipcluster_config.py`` says how engines start
                (Slurm, SSH, MPI …); None forks them here.
            gpus: ``CUDA_VISIBLE_DEVICES`` of local engines, empty leaves it as it is.
            warm: What to fork local engines from, if that has been started already.
            cancelled: Set by another thread to give up.

        Raises:
            ClusterError: It did not come up, or its engines not within ``c.Cluster.engine_timeout``
                (60 s). Nothing that was started is left running.
        """
        options: dict[str, Any] = {"log": _log, "n": nproc}
        if profile is None:
            options |= {
                "controller": LocalController,
                "engines": LocalEngines,
                "load_profile": False,
                # Engines find the connection file themselves; they start while it is written.
                "send_engines_connection_env": False,
            }
        else:
            options["profile_dir"] = str(profile_dir_of(profile))
        cluster = Cluster(**options)
        pool = None
        try:
            if profile is None:
                # First what takes longest; the controller is up before torch is imported.
                cluster.start_engines_sync(nproc, gpus=gpus, warm=warm)
                cluster.start_controller_sync()
            else:
                cluster.start_controller_sync()
                cluster.start_engines_sync(nproc)
            pool = cls(cluster.connect_client_sync(), cluster, cancelled)
            pool.wait_for(nproc, cluster.engine_timeout)
        except BaseException as error:
            if pool is None:
                _stop(cluster)
            else:
                pool.close()
            if isinstance(error, RankbookError):
                raise
            raise ClusterError(f"The cluster did not start: {one_line(error)}.") from error
        return pool

    @classmethod
    def join(
        cls,
        *,
        profile: str | None = None,
        cluster_id: str | None = None,
        connection_file: str | Path | None = None,
    ) -> Pool:
        """Join a cluster that runs.

        Args:
            profile: IPython profile whose cluster it is.
            cluster_id: As ``ipcluster list`` shows it.
            connection_file: ``ipcontroller-…-client.json``, instead of the two above.

        Raises:
            ClusterError: There is no such cluster, or it does not answer.
        """
        try:
            path = connection_file or connection_file_of(profile, cluster_id)
            if not Path(path).exists():
                what = f"cluster {cluster_id!r}" if cluster_id else f"cluster at {path}"
                raise ClusterError(f"There is no {what}: `ipcluster list` shows those that run.")
            client = ipyparallel.Client(str(path), timeout=_CONNECT_TIMEOUT)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"The cluster does not answer ({one_line(error)}): is its controller running?"
            ) from error
        if not client.ids:
            client.close(linger=0)
            raise ClusterError("The cluster has no engines: start some, then join again.")
        pool = cls(client, None, joined_by=cluster_id or str(path))
        try:
            wake_agents(client, pool.channel)
        except BaseException:
            pool.close()
            raise
        return pool

    # -- using it ----------------------------------------------------------------------------

    @property
    def engines(self) -> list[int]:
        """Ids of the engines that are registered."""
        return self.wire.engines

    @property
    def is_owned(self) -> bool:
        """Whether this process started the cluster, and so stops it."""
        return self.cluster is not None

    @property
    def can_grow(self) -> bool:
        """Whether :meth:`grow` can add engines."""
        return self._local is not None

    def refuse_growth(self) -> None:
        """Raise if :meth:`grow` cannot add engines.

        Raises:
            ClusterError: The engines are not ours to start.
        """
        if not self.can_grow:
            raise ClusterError(
                f"This cluster has {len(self.engines)} engines and rankbook cannot add to it: "
                "ask for as many ranks or fewer, or start more engines."
            )

    def grow(self, n: int, timeout: float = 60.0) -> None:
        """Start ``n`` more engines beside those that run.

        Raises:
            ClusterError: The engines are not ours to start, or did not come.
        """
        self.refuse_growth()
        assert self._local is not None  # noqa: S101 - or it was refused
        with _saying_how_to_begin_anew():
            new = self._local.add(n)
            # By their ids, not their number: one that has just ended may still be counted.
            failure = f"Not all of {n} new engines came"
            self._wait(lambda: new <= self._reachable(), timeout, failure)

    def end(self, engines: Collection[int], timeout: float = 10.0) -> None:
        """Kill engines, whatever they do, and wait until they are gone.

        Raises:
            ClusterError: They are still there.
        """
        with _saying_how_to_begin_anew():
            if self._local is not None:
                self._local.end(engines)
            else:
                # Through the process that watches each of them.
                self.client.send_signal(signal.SIGKILL, targets=sorted(engines), block=False)
            self._wait(
                lambda: not set(engines) & set(self.client.ids),
                timeout,
                f"Engines {sorted(engines)} did not end",
            )

    def replace(self, timeout: float = 60.0) -> None:
        """Stop all engines and start as many new ones.

        Raises:
            ClusterError: The new ones did not come.
        """
        if self.cluster is None:
            raise ClusterError("These engines were started elsewhere and cannot be replaced here.")
        # As many as there are, or were: whoever asks for more has them started.
        n = max(1, sum(engines.n for engines in self.cluster.engines.values()))
        options = {}
        if self._local is not None:
            # New ids: what is still said of the old engines must not be taken for theirs.
            options = {"gpus": self._local.gpus, "first": self._local.next_id}
        _beside_loops(self.cluster.stop_engines_sync)
        self._wait(lambda: not self.client.ids, timeout, "The old engines did not leave")
        self._refuse_closed()
        _beside_loops(partial(self.cluster.start_engines_sync, n, **options))
        self._listen()
        self.wait_for(n, timeout)

    def wait_for(self, n: int, timeout: float) -> None:
        """Wait until ``n`` engines are registered.

        Raises:
            ClusterError: They are not within ``timeout`` seconds, or something ended meanwhile.
            SessionError: The pool was closed meanwhile.
        """
        self._wait(
            lambda: len(self._reachable()) >= n,
            timeout,
            f"Not all {n} engines came; look into the launcher's log, or ask for fewer",
        )
        if not self.can_grow:
            install_agents(self.client)

    def facts(self, engines: Iterable[int] | None = None) -> list[EngineFacts]:
        """Ask engines where they stand; they answer whatever they do."""
        request = SayFacts(self.wire.address)
        asked = everyone(self.engines if engines is None else engines, request)
        answers = self.channel.ask(asked, timeout=60, again=2)
        return [load(EngineFacts, answers[e]) for e in sorted(answers)]

    def last_words(self, engine: int) -> list[str]:
        """The last lines that an engine wrote past Python, oldest first; none if unknown."""
        return self._local.words_of(engine) if self._local is not None else []

    def close(self) -> None:
        """Stop what was started here; leave a cluster that was joined."""
        self._closed = True
        self.on_end = _ignore
        self.channel.close()
        self.wire.close()
        if self.cluster is not None:
            cluster, self.cluster = self.cluster, None
            _stop(cluster)

    # ----------------------------------------------------------------------------------------

    @property
    def _local(self) -> LocalEngines | None:
        sets = list(self.cluster.engines.values()) if self.cluster else []
        return sets[0] if sets and isinstance(sets[0], LocalEngines) else None

    def _listen(self) -> None:
        if self._local is not None:
            self._local.on_end = self._engine_ended

    def _wait(self, condition: Callable[[], bool], timeout: float, failure: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if self._cancelled.is_set():
                raise ClusterError("The start was interrupted.")
            self._refuse_closed()
            if self._local is not None and (status := self._local.ended()) is not None:
                said = self._local.last_words()
                raise _NoForkError(f"The process that starts engines {how_ended(status)}: {said}")
            if time.monotonic() > deadline:
                raise ClusterError(f"{failure} (within {timeout:g} s).")
            time.sleep(0.005)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise SessionError("The session was shut down meanwhile.")

    def _reachable(self) -> set[int]:
        """Engines that can be asked."""
        if self._local is not None and (new := set(self._local.ready) - set(self.client.ids)):
            self.channel.know({engine: self._local.ready[engine] for engine in new})
        return set(self.client.ids)

    def _engine_ended(self, engine: int, status: int) -> None:
        # In this order: who waits for the engine must find out how it ended.
        self.on_end(engine, status)
        self.channel.engine_gone(engine)
        self.wire.unregister(engine)


class _NoForkError(ClusterError):
    """The process from which engines are forked has ended."""


@contextmanager
def _saying_how_to_begin_anew() -> Iterator[None]:
    """Say what to do where no engine can be started, or ended, for want of what forks them."""
    try:
        yield
    except (OSError, _NoForkError) as error:  # OSError: it reads no more what it is told
        raise ClusterError(
            "The process that engines are forked from has ended, and they with it: "
            "%dist_reset --hard (or reset(hard=True)) starts others."
        ) from error


def _ignore(engine: int, status: int) -> None:
    """Nobody wants to know that an engine has ended."""


def _stop(cluster: Cluster) -> None:
    _beside_loops(cluster.stop_cluster_sync)
    if not cluster.load_profile:
        _remove_files(cluster)


def _beside_loops(work: Callable[[], object]) -> None:
    """Do something of ipyparallel's in a thread where no loop runs, as one does in a kernel.

    Where one runs, ipyparallel has another thread run another loop, and never ends them.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        work()
        return
    with ThreadPoolExecutor(1, "rankbook-beside") as executor:
        executor.submit(work).result()


def _remove_files(cluster: Cluster) -> None:
    """Remove logs and connection files; one per engine and session would gather for ever."""
    for path in Path(cluster.profile_dir).glob(f"*/*{cluster.cluster_id}*"):
        with suppress(OSError):
            path.unlink()
