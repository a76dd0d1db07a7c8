"""Hosts that are reached by a command, told apart by whether they answer, and reached again."""

from __future__ import annotations

import json
import queue
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rankbook.cluster.launchers.far import FarLauncher
from rankbook.cluster.launchers.host import Host, refuse_other_version
from rankbook.errors import ClusterError, EngineError, RankbookError
from rankbook.words import agree

__all__ = ["News", "ReachingLauncher"]

_PONG = 3.0
"""Seconds for a host to answer before its engines are given up."""

_SOON = 1.0
"""Seconds for a host to answer before it is tried to reach it once more, beside."""

_HELLO = 15.0
"""Seconds for a host's process to say who it is."""


@dataclass(frozen=True)
class News:
    """A line from a host's process, or its end."""

    host: Host
    event: dict[str, Any] | None


class ReachingLauncher(FarLauncher):
    """Keeps a process on each host, and knows which of them answer.

    Its arguments are those of :class:`FarLauncher`.
    """

    def __init__(
        self, nproc: int, python: str | None = None, gpus: str = "", address: str = ""
    ) -> None:
        super().__init__(nproc, python, gpus, address)
        self.hosts: list[Host] = []
        self.news: queue.Queue[News | None] = queue.Queue()
        """What the hosts' processes say of engines; None wakes the thread that reads it."""
        self._again: dict[Host, Host] = {}
        """By host that is lost: the same one, reached again."""

    # -- what a subclass says ----------------------------------------------------------------

    @abstractmethod
    def reach(self) -> list[Host]:
        """Start the process of each host; does not wait for any.

        Raises:
            ClusterError: That is not possible.
        """

    @abstractmethod
    def reach_again(self, host: Host) -> Host:
        """Start the process of a host whose process has ended, or does not answer any more."""

    @abstractmethod
    def why_it_ended(self, host: Host) -> str:
        """Say, in a sentence without its full stop, why a host's process has ended."""

    # -- reaching hosts ----------------------------------------------------------------------

    def reach_all(self) -> None:
        """Reach every host, and wait until each has said who it is.

        Raises:
            ClusterError: One of them cannot be reached.
            EngineError: One has no rankbook, or another version.
        """
        self.hosts = self.reach()
        for host in self.hosts:
            self._listen(host)
        self._wait_for_hello(self.hosts, until_one_fails=True)
        for problem in self._problems(self.hosts).values():
            raise problem

    def refuse_start(self, n: int | None = None, instead_of: Collection[int] = ()) -> None:
        """Raise if hosts are lost whose seats ``n`` engines need.

        Lost hosts that are not needed stay lost. The others are reached again;
        :meth:`take_back` then has them used.
        """
        lost = self._lost()
        for host in [host for host in self._again if host not in lost]:
            self._close([self._again.pop(host)])
        lost = [host for host in lost if host not in self._again or self._again[host].has_ended]
        there = [self._again.get(host, host) for host in self.hosts if host not in lost]
        missing = sum(host.seats for host in lost)
        if n is not None:
            free = sum(host.seats - len(host.engines - set(instead_of)) for host in there)
            missing = min(missing, n - free)
        if missing > 0:
            self._again |= self._reach_again(lost, missing, sum(host.seats for host in there))

    def take_back(self) -> None:
        """Have hosts that were reached again take the places of those that were lost."""
        again, self._again = self._again, {}
        back = {old: new for old, new in again.items() if old.has_ended}  # the others were slow
        self._close([*back, *(new for old, new in again.items() if old not in back)])
        self.hosts = [back.get(host, host) for host in self.hosts]

    def how_to_go_on(self, lost: Collection[Host], seats: int) -> str:
        """Say what to do while hosts cannot be reached.

        Args:
            lost: These hosts.
            seats: How many the others have.
        """
        text = f"Try again when {', '.join(host.name for host in lost)} can be reached"
        if seats:
            them = agree(lost, "it", "them")
            text += f"; %dist_init -n {seats} (or initialize(size={seats})) goes on without {them}"
        return f"{text}."

    def silent(self, hosts: Iterable[Host], within: float = _PONG) -> list[Host]:
        """Those that do not answer within some seconds."""
        asked = list(hosts)
        if not asked:
            return []
        with ThreadPoolExecutor(len(asked), "rankbook-ping") as executor:
            answers = list(executor.map(lambda host: host.answers(within), asked))
        return [host for host, answered in zip(asked, answers, strict=True) if not answered]

    @property
    def present(self) -> list[Host]:
        """The hosts whose process has not ended."""
        return [host for host in self.hosts if not host.has_ended]

    def stop(self) -> None:
        """End the hosts' processes, with their engines, then the controller; remove files."""
        self._close([*self.hosts, *self._again.values()])
        super().stop()

    # ----------------------------------------------------------------------------------------

    def _lost(self) -> list[Host]:
        """The hosts that cannot have engines: their process has ended, or does not answer."""
        silent = self.silent(self.present, _SOON)
        return [host for host in self.hosts if host.has_ended or host in silent]

    def _reach_again(self, lost: Collection[Host], missing: int, seats: int) -> dict[Host, Host]:
        """Reach hosts again, as many as have the seats that are missing.

        Args:
            lost: The hosts.
            missing: Number of seats.
            seats: How many the other hosts have, for the message.

        Returns:
            By lost host, the same one, reached again.

        Raises:
            ClusterError: Too few can be reached; the message says why of the first.
        """
        again: dict[Host, Host] = {}
        try:
            for host in lost:
                again[host] = self.reach_again(host)
                self._listen(again[host])
            self._wait_for_hello(again.values())
        except BaseException:
            self._close(again.values())
            raise
        problems = self._problems(again.values())
        back = {old: host for old, host in again.items() if host not in problems}
        if (found := sum(host.seats for host in back.values())) < missing:
            self._close(again.values())
            raise self._too_few(problems, seats + found)
        self._close(problems)
        return back

    def _too_few(self, problems: Mapping[Host, RankbookError], seats: int) -> ClusterError:
        why = str(next(iter(problems.values()))).rstrip(".")
        return ClusterError(f"{why}; nothing was ended. {self.how_to_go_on(problems, seats)}")

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
                self.news.put(News(host, event))
        with suppress(Exception):
            host.process.process.wait(5)
        host.has_ended = True
        self.news.put(News(host, None))

    def _wait_for_hello(self, hosts: Collection[Host], *, until_one_fails: bool = False) -> None:
        """Wait until hosts have said who they are, or have ended, or time is up."""
        deadline = time.monotonic() + _HELLO
        while any(not host.hello and not host.has_ended for host in hosts):
            self.progress.refuse_cancelled()
            failed = any(host.has_ended and not host.hello for host in hosts)
            if (failed and until_one_fails) or time.monotonic() > deadline:
                return
            time.sleep(0.01)

    def _problems(self, hosts: Collection[Host]) -> dict[Host, RankbookError]:
        """By host that cannot have engines, why, those whose process has ended first."""
        problems: dict[Host, RankbookError] = {}
        for host in hosts:
            if host.has_ended and not host.hello:
                problems[host] = self._cannot_serve(host)
        late = [host for host in hosts if not host.hello and not host.has_ended]
        names = ", ".join(host.name for host in late)
        for host in late:
            problems[host] = ClusterError(f"{names} did not answer within {_HELLO:g} s.")
        for host in hosts:
            if host.hello:
                try:
                    refuse_other_version(host)
                except EngineError as error:
                    problems[host] = error
        return problems

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

    def _close(self, hosts: Collection[Host]) -> None:
        """Make hosts' processes end, all at once, and wait for that."""
        for host in hosts:
            if not host.hello:  # nothing is there yet that could end by itself
                host.process.abandon()
        closing = [host.process.close for host in hosts]
        if closing:
            with ThreadPoolExecutor(len(closing), "rankbook-close") as executor:
                list(executor.map(_call, closing))


def _call(function: Callable[[], None]) -> None:
    function()
