"""Engines on several hosts: one process on each forks them, behind a command that reaches it.

A subclass gives the command, and the address of this host that the others reach. Commands go to the
process's standard input and events come from its standard output, as for local engines, so that
engines are added, killed and followed in the same way, and end with this process or the connection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rankbook.cluster.launchers.base import Ended, EngineEvent, LastWords, Ready
from rankbook.cluster.launchers.cluster import Forking
from rankbook.cluster.launchers.forking import fork_command
from rankbook.cluster.launchers.host import Host, seats_to_fill
from rankbook.cluster.launchers.reaching import ReachingLauncher
from rankbook.errors import ClusterError

if TYPE_CHECKING:
    import ipyparallel

    from rankbook.models.calls import LastCalls

__all__ = ["HostsLauncher"]


class HostsLauncher(ReachingLauncher):
    """Starts a controller here, reaches the hosts, and has the process on each fork engines.

    Its arguments are those of :class:`FarLauncher`.
    """

    can_add = True

    def __init__(
        self, nproc: int, python: str | None = None, gpus: str = "", address: str = ""
    ) -> None:
        super().__init__(nproc, python, gpus, address)
        self._next = 0
        self._last = LastWords()
        self._why_lost: dict[int, str] = {}
        self._stopping = False
        self._was_ready = False
        self._ready: set[int] = set()

    # -- starting ----------------------------------------------------------------------------

    def start(self, n: int) -> ipyparallel.Client:
        """Reach the hosts, start the controller, and have the engines forked."""
        self.reach_all()
        self.settle_address()
        self.start_controller()
        self.start_engines(n)
        return self.connect()

    def start_engines(self, n: int, **options: Any) -> set[int]:
        """Have ``n`` engines forked, on each host as many as it has seats; return their ids."""
        del options
        self._stopping = self._was_ready = False
        self.take_back()
        return self.fork(n)

    def add(self, n: int) -> set[int]:
        """Have ``n`` more engines forked, first where some have ended; return their ids."""
        self.refuse_start(n)
        self.take_back()
        return super().add(n)

    def fork(self, n: int) -> set[int]:
        """Have ``n`` engines forked, first where there is room; return their ids."""
        self.expect()
        new: set[int] = set()
        command, _ = self.how_to_fork()
        hosts = self.present or self.hosts  # if all are lost by now, the first one gives the reason
        room = [host.seats - len(host.engines) for host in hosts]
        for host, count in zip(hosts, seats_to_fill(n, room), strict=True):
            if count:
                ids = set(range(self._next, self._next + count))
                self._next += count
                host.engines |= ids
                new |= ids
                self._tell(host, {**command, "fork": count, "first": min(ids)})
        return new

    def _tell(self, host: Host, command: Mapping[str, Any]) -> None:
        """Send a command to a host's process.

        Raises:
            ClusterError: It has ended.
        """
        try:
            host.process.tell(command)
        except OSError:
            host.engines.clear()
            raise ClusterError(f"{self.why_it_ended(host)}.") from None

    # -- following ---------------------------------------------------------------------------

    def events(self) -> Iterator[EngineEvent]:
        """What the hosts' processes report of their engines."""
        while (news := self.news.get()) is not None:
            if news.event is None:
                yield from self._lose(news.host)
            elif news.event["event"] == "ready":
                self._was_ready = True
                news.host.engines.add(news.event["engine"])  # the keeper may have added it
                self._next = max(self._next, news.event["engine"] + 1)
                self._ready.add(news.event["engine"])
                yield Ready(news.event["engine"], news.event["uuid"])
            elif news.event["event"] == "ended":
                index = news.event["index"]
                news.host.engines.discard(index)
                self._last.take(news.event)
                if news.host.is_leaving and not self._stopping:
                    self._why_lost[index] = self.why_it_ended(news.host)
                yield Ended(index, news.event["status"])
            elif news.event["event"] == "leaving":
                news.host.is_leaving = True
            elif news.event["event"] == "reached" and news.event["problem"]:
                self.problem = (
                    f"{news.host.name} cannot reach this notebook at {self.address}:"
                    f"{self.info['registration']} ({news.event['problem']}), though it is reached "
                    "from here: open that port, or give another address of this host, --address"
                )
            if self._stopping and not any(host.engines for host in self.hosts):
                return

    def _lose(self, host: Host) -> Iterator[EngineEvent]:
        engines, host.engines = sorted(host.engines), set()
        if engines and not self._stopping:
            why = self.why_it_ended(host)
            if not self._was_ready:
                self.problem = self.problem or why
            self._why_lost |= dict.fromkeys(engines, why)
        for engine in engines:
            yield Ended(engine, None)

    def forking(self) -> list[Forking]:
        """The processes that fork engines, one for each host."""
        up = self.present
        return [Forking(h.process, h.engines, f"{h.name} was lost", h.seats) for h in up]

    def how_to_fork(self) -> tuple[dict[str, Any], int]:
        """The command that forks engines, and the id of the next."""
        command = fork_command(0, 0, self.engine_options(), env=self.env(), log="")
        # First each process checks that engines there can reach the controller.
        return {"reach": [self.address, self.info["registration"]], **command}, self._next

    def late(self) -> list[Host]:
        """The hosts that have not said hello, or whose engines are not ready."""
        return [host for host in self.present if not host.hello or host.engines - self._ready]

    def check(self) -> None:
        """Raise if some host's engines can no longer come."""
        self.refuse_lost()

    @property
    def leaving(self) -> Collection[int]:  # type: ignore[override]
        """The engines of hosts whose process was told to end."""
        return {e for host in self.hosts if host.is_leaving for e in tuple(host.engines)}

    def why_lost(self, engine: int) -> str:
        """The reason why an engine ended together with its host's process."""
        return self._why_lost.get(engine, "")

    def log_tail(self, engine: int) -> list[str]:
        """The last lines of an engine's log."""
        return self._last.lines(engine)

    def last_calls(self, engine: int) -> LastCalls | None:
        """What an engine called and printed last."""
        return self._last.calls(engine)

    # -- ending ------------------------------------------------------------------------------

    def end(self, engines: Collection[int]) -> None:
        """Have the processes that forked the engines kill some.

        A host that does not answer is given up, with all its engines: its connection is closed
        here, and its processes end when they notice.
        """
        concerned = [host for host in self.hosts if host.engines & set(engines)]
        for host in concerned:
            with suppress(OSError):  # it has ended, and its engines with it
                host.process.tell({"kill": sorted(host.engines & set(engines))})
        for host in self.silent(concerned):
            host.has_ended = True
            host.process.abandon()

    def stop_engines(self) -> int:
        """Kill all engines; return how many there should be, at least 1."""
        self._stopping = True
        self.end({engine for host in self.hosts for engine in host.engines})
        if not any(host.engines for host in self.hosts):
            self.news.put(None)
        usable = [host for host in self.hosts if host in self._again or not host.has_ended]
        return max(1, sum(host.seats for host in usable))

    def stop(self) -> None:
        """End the hosts' processes, with their engines, then the controller; remove files."""
        self._stopping = True
        super().stop()
        self.news.put(None)
