"""Engines on several hosts: one process on each forks them, behind a command that reaches it.

A subclass says which command, and which address of this host the others reach. Commands go down
the process's standard input and events come up its standard output, as for local engines, so that
engines are told, added and ended in the same way, and end when this process or the connection does.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankbook.cluster.launchers.base import Ended, EngineEvent, Ready
from rankbook.cluster.launchers.far import FarLauncher
from rankbook.cluster.launchers.forking import fork_command
from rankbook.cluster.launchers.host import Host, refuse_other_version, seats_to_fill
from rankbook.cluster.warm import WarmProcess
from rankbook.errors import ClusterError, EngineError, RankbookError

if TYPE_CHECKING:
    import ipyparallel

__all__ = ["HostsLauncher"]

_PONG = 3.0
"""Seconds for a host to answer before its engines are given up."""

_HELLO = 15.0
"""Seconds for a host's process to say who it is."""


@dataclass(frozen=True)
class _News:
    """A line from a host's process, or its end."""

    host: Host
    event: dict[str, Any] | None


class HostsLauncher(FarLauncher):
    """Starts a controller here, a process on each host, and has that fork engines.

    Its arguments are those of :class:`FarLauncher`.
    """

    can_add = True

    def __init__(
        self, nproc: int, python: str | None = None, gpus: str = "", address: str = ""
    ) -> None:
        super().__init__(nproc, python, gpus, address)
        self.hosts: list[Host] = []
        self._news: queue.Queue[_News | None] = queue.Queue()
        self._next = 0
        self._words: dict[int, list[str]] = {}
        self._lost: dict[int, str] = {}
        self._stopping = False
        self._was_ready = False
        self._problem = ""

    # -- what a subclass says ----------------------------------------------------------------

    @abstractmethod
    def reach(self) -> list[Host]:
        """Start the process of each host; does not wait for any.

        Raises:
            ClusterError: That is not possible.
        """

    @abstractmethod
    def reach_again(self, host: Host) -> Host:
        """Start the process of a host whose process has ended."""

    @abstractmethod
    def why_it_ended(self, host: Host) -> str:
        """Say, in a sentence without its full stop, why a host's process has ended."""

    # -- starting ----------------------------------------------------------------------------

    def start(self, n: int) -> ipyparallel.Client:
        """Reach the hosts, start the controller, and have the engines forked."""
        self.hosts = self.reach()
        for host in self.hosts:
            self._listen(host)
        self._wait_for_hello(self.hosts)
        if not self.address:
            self.address = self.find_address()
        self.start_controller()
        self.start_engines(n)
        return self.connect()

    def find_address(self) -> str:
        """The address of this host at which the others reach it, once they have said hello."""
        raise NotImplementedError

    def start_engines(self, n: int, **options: Any) -> None:
        """Have ``n`` engines forked, by as many on each host as it has seats."""
        del options
        self._stopping = self._was_ready = False
        self._reach_lost()
        for host in self.hosts:
            host.process.tell({"reach": [self.address, self.info["registration"]]})
        self._fork(n)

    def add(self, n: int) -> set[int]:
        """Fork ``n`` more engines, first where some have ended; return their ids."""
        self._reach_lost()
        return self._fork(n)

    def _fork(self, n: int) -> set[int]:
        new: set[int] = set()
        room = [host.seats - len(host.engines) for host in self.hosts]
        for host, count in zip(self.hosts, seats_to_fill(n, room), strict=True):
            if count:
                ids = set(range(self._next, self._next + count))
                host.process.tell(
                    fork_command(count, self._next, self.engine_options(), env=self.env(), log="")
                )
                self._next += count
                host.engines |= ids
                new |= ids
        return new

    def _reach_lost(self) -> None:
        """Reach hosts again whose process has ended."""
        lost = [host for host in self.hosts if host.has_ended]
        again = {id(host): self.reach_again(host) for host in lost}
        self.hosts = [again.get(id(host), host) for host in self.hosts]
        for host in again.values():
            self._listen(host)
        self._wait_for_hello(list(again.values()))

    def _wait_for_hello(self, hosts: Collection[Host]) -> None:
        """Wait until hosts have said who they are.

        Raises:
            ClusterError: One of them cannot be reached.
            EngineError: One has no rankbook, or another version.
        """
        deadline = time.monotonic() + _HELLO
        while waiting := [host for host in hosts if not host.hello]:
            self.progress.refuse_cancelled()
            for host in waiting:
                if host.has_ended and not host.hello:
                    raise self._cannot_serve(host)
            if time.monotonic() > deadline:
                names = ", ".join(host.name for host in waiting)
                raise ClusterError(f"{names} did not answer within {_HELLO:g} s.")
            time.sleep(0.01)
        for host in hosts:
            refuse_other_version(host)

    def _cannot_serve(self, host: Host) -> RankbookError:
        """Say why a host's process ended before it could fork anything."""
        errors = host.process.errors()
        if any("No module named 'rankbook" in line for line in errors):
            return EngineError(
                f"{self.python} on {host.name} has no rankbook: run "
                f"`{self.python} -m pip install rankbook` there."
            )
        if any(self.python in line and "No such file" in line for line in errors):
            return EngineError(
                f"There is no {self.python} on {host.name}: say which Python has rankbook there, "
                "--python PATH (or python=…)."
            )
        return ClusterError(f"{self.why_it_ended(host)}.")

    # -- following ---------------------------------------------------------------------------

    def _listen(self, host: Host) -> None:
        threading.Thread(
            target=self._read, args=(host,), name=f"rankbook-{host.name}", daemon=True
        ).start()

    def _read(self, host: Host) -> None:
        for line in host.process.lines():
            try:
                event = json.loads(line)
                kind = event["event"]
            except (ValueError, TypeError, KeyError):  # a login script printed something
                continue
            if kind == "hello":
                host.hello = event
            elif kind == "pong":
                host.pongs.put(None)
            else:
                self._news.put(_News(host, event))
        with suppress(Exception):
            host.process.process.wait(5)
        host.has_ended = True
        self._news.put(_News(host, None))

    def events(self) -> Iterator[EngineEvent]:
        """What the hosts' processes report of their engines."""
        while (news := self._news.get()) is not None:
            if news.event is None:
                yield from self._lose(news.host)
            elif news.event["event"] == "ready":
                self._was_ready = True
                yield Ready(news.event["engine"], news.event["uuid"])
            elif news.event["event"] == "ended":
                index = news.event["index"]
                news.host.engines.discard(index)
                self._words[index] = news.event.get("words", [])
                if news.host.is_leaving and not self._stopping:
                    self._lost[index] = self.why_it_ended(news.host)
                yield Ended(index, news.event["status"])
            elif news.event["event"] == "leaving":
                news.host.is_leaving = True
            elif news.event["event"] == "reached" and news.event["problem"]:
                self._problem = (
                    f"{news.host.name} cannot reach this notebook at {self.address}:"
                    f"{self.info['registration']} ({news.event['problem']}), though it is reached "
                    "from here: open that way, or give another address of this host, --address"
                )
            if self._stopping and not any(host.engines for host in self.hosts):
                return

    def _lose(self, host: Host) -> Iterator[EngineEvent]:
        engines, host.engines = sorted(host.engines), set()
        if engines and not self._stopping:
            why = self.why_it_ended(host)
            if not self._was_ready:
                self._problem = why
            self._lost |= dict.fromkeys(engines, why)
        for engine in engines:
            yield Ended(engine, None)

    def processes(self) -> list[WarmProcess]:
        """Those that engines are forked from, one for each host."""
        return [host.process for host in self.hosts if not host.has_ended]

    def check(self) -> None:
        """Raise if some host's engines cannot come any more."""
        if self._problem:
            raise ClusterError(f"{self._problem}.")

    def why_lost(self, engine: int) -> str:
        """What ended an engine together with its host's process."""
        return self._lost.get(engine, "")

    def log_tail(self, engine: int) -> list[str]:
        """The last lines of an engine's log."""
        return self._words.get(engine, [])

    # -- ending ------------------------------------------------------------------------------

    def end(self, engines: Collection[int]) -> None:
        """Have the processes that forked the engines kill some.

        A host that does not answer is given up, with all its engines: the connection to it is
        ended here, and what is left there ends when it notices.
        """
        concerned = [host for host in self.hosts if host.engines & set(engines)]
        for host in concerned:
            with suppress(OSError):
                host.process.tell({"kill": sorted(host.engines & set(engines))})
        for host in concerned:
            if not host.answers(_PONG):
                host.process.abandon()

    def stop_engines(self) -> int:
        """Kill all engines; return how many there should be, at least 1."""
        self._stopping = True
        self.end({engine for host in self.hosts for engine in host.engines})
        if not any(host.engines for host in self.hosts):
            self._news.put(None)
        return max(1, sum(host.seats for host in self.hosts))

    def stop(self) -> None:
        """End the hosts' processes, with their engines, then the controller; remove files."""
        self._stopping = True
        closing = [host.process.close for host in self.hosts]
        if closing:
            with ThreadPoolExecutor(len(closing), "rankbook-close") as executor:
                list(executor.map(_call, closing))
        self._news.put(None)
        super().stop()


def _call(function: Callable[[], None]) -> None:
    function()
