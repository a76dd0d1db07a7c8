"""Hosts reached by a command: which answer, and which are late or silent."""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from subprocess import TimeoutExpired
from typing import Any

from rankbook.cluster.launchers.base import Progress
from rankbook.cluster.launchers.far import FarLauncher
from rankbook.cluster.launchers.host import Host, lacking, refuse_other_version
from rankbook.errors import ClusterError, EngineError, RankbookError

__all__ = ["SOON", "AnsweringLauncher", "News"]

_PONG = 3.0
"""Seconds for a host to answer before its engines are given up."""

SOON = 1.0
"""Seconds for a host to answer before another attempt to reach it starts in parallel."""

_LATE = 5.0
"""Seconds after which to check whether a late host can still be reached."""

_HELLO = 15.0
"""Seconds for a host's process to introduce itself."""


_ABSENT = "There is no {} on {}"
_NOT_RUN = {126: "{} on {} cannot be executed", 127: _ABSENT}
"""By exit code of a shell that could not run the interpreter, what that means."""


@dataclass(frozen=True)
class News:
    """A line from a host's process, or its end."""

    host: Host
    event: dict[str, Any] | None


class AnsweringLauncher(FarLauncher):
    """Reads the messages of the process on each host, and knows which hosts answer.

    Its arguments are those of :class:`FarLauncher`.
    """

    if_late = ""
    """What to look at where a host does not introduce itself, after the words that say so."""

    def __init__(
        self, nproc: int, python: str | None = None, gpus: str = "", address: str = ""
    ) -> None:
        super().__init__(nproc, python, gpus, address)
        self.hosts: list[Host] = []
        self.news: queue.Queue[News | None] = queue.Queue()
        """Messages of the hosts' processes about engines; None wakes the reading thread."""
        self.progress = Progress()
        self.problem = ""
        """Why engines can no longer come, in a sentence without its full stop."""
        self._tried: list[Host] = []
        """Late hosts, reached once more."""
        self._try_at = inf

    @abstractmethod
    def why_it_ended(self, host: Host) -> str:
        """Say why a host's process has ended, in a sentence without its full stop."""

    def expect(self) -> None:
        """Have :meth:`refuse_lost` check hosts from now on."""
        self.problem, self._try_at = "", time.monotonic() + _LATE

    def late(self) -> list[Host]:
        """The hosts that have yet to do what is awaited."""
        return [host for host in self.present if not host.hello]

    def refuse_lost(self) -> None:
        """Raise if a late host can no longer be reached, which is checked in parallel.

        Raises:
            ClusterError: The message says why, or gives another known problem.
        """
        if time.monotonic() > self._try_at:
            self._try_at = inf
            threading.Thread(target=self._try_late, name="rankbook-late", daemon=True).start()
        if self.problem:
            raise ClusterError(f"{self.problem}.")

    def silent(self, hosts: Iterable[Host], within: float = _PONG) -> list[Host]:
        """The hosts that do not answer within some seconds."""
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

    # ----------------------------------------------------------------------------------------

    def _try_late(self) -> None:
        """Try once more to reach late and silent hosts; note any problem."""
        late = self.silent(self.late(), SOON)  # a login script does not answer, either
        self._tried = tried = [host.reached_once_more() for host in late]
        try:
            for host in tried:
                self._listen(host)
            self._wait_for_hello(tried, until_one_fails=True)
            for host, again in zip(late, tried, strict=True):
                if again.has_ended and not again.hello and host in self.late():
                    host.is_unreachable = True
                    self.problem = str(self._cannot_serve(again)).rstrip(".")
        except ClusterError:
            return  # the start is over
        finally:
            self._close(tried)
        self._try_at = time.monotonic() + _LATE

    def _listen(self, host: Host) -> None:
        threading.Thread(
            target=self._read, args=(host,), name=f"rankbook-{host.name}", daemon=True
        ).start()

    def _read(self, host: Host) -> None:
        for line in host.process.lines():
            try:
                event = json.loads(line)
                kind = event["event"]
            except (ValueError, TypeError, KeyError):
                host.printed = line.decode(errors="replace").strip() or host.printed
                continue
            if kind == "hello":
                host.hello = event
            elif kind == "pong":
                host.pongs.put(None)
            else:
                self.news.put(News(host, event))
        with suppress(TimeoutExpired):  # nothing comes of it any more, whatever it does
            host.process.process.wait(5)
        host.has_ended = True
        self.news.put(News(host, None))

    def _wait_for_hello(self, hosts: Collection[Host], *, until_one_fails: bool = False) -> None:
        """Wait until hosts have introduced themselves, or have ended, or time is up."""
        deadline = time.monotonic() + _HELLO
        while any(not host.hello and not host.has_ended for host in hosts):
            self.progress.refuse_cancelled()
            if hosts is self.hosts:
                self.refuse_lost()
            failed = any(host.has_ended and not host.hello for host in hosts)
            if (failed and until_one_fails) or time.monotonic() > deadline:
                return
            time.sleep(0.01)

    def _problems(self, hosts: Collection[Host]) -> dict[Host, RankbookError]:
        """The problem of each host that cannot have engines, ended processes first."""
        problems: dict[Host, RankbookError] = {}
        for host in hosts:
            if host.has_ended and not host.hello:
                problems[host] = self._cannot_serve(host)
        late = [host for host in hosts if not host.hello and not host.has_ended]
        names = ", ".join(host.name for host in late)
        for host in late:
            words = f"{names} did not answer within {_HELLO:g} s"
            problems[host] = ClusterError(f"{words}{self.if_late.format(host=host.name)}.")
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
        if package := lacking(errors):
            return EngineError(
                f"{self.python} on {host.name} has no {package}: run "
                f"`{self.python} -m pip install rankbook` there."
            )
        status = host.process.process.poll()
        if status in _NOT_RUN or any(self.python in e and "No such file" in e for e in errors):
            problem = _NOT_RUN.get(status or 0, _ABSENT).format(self.python, host.name)
            what_to_do = "give the path of a Python that has rankbook there, --python PATH"
            return EngineError(f"{problem}: {what_to_do} (or python=…).")
        if any(line.startswith("SyntaxError") for line in errors):
            return EngineError(
                f"{self.python} on {host.name} is too old for rankbook: give the path of a Python "
                f"{sys.version_info[0]}.{sys.version_info[1]} there, --python PATH (or python=…)."
            )
        return ClusterError(f"{self.why_it_ended(host)}.")

    def _close(self, hosts: Collection[Host]) -> None:
        """Make hosts' processes end, all at once, and wait for that."""
        for host in hosts:
            # There is no process yet that could end by itself, or it does not hear the request.
            if not host.hello or host.is_unreachable:
                host.process.abandon()
        closing = [host.process.close for host in hosts]
        if closing:
            with ThreadPoolExecutor(len(closing), "rankbook-close") as executor:
                list(executor.map(_call, closing))


def _call(function: Callable[[], None]) -> None:
    function()
