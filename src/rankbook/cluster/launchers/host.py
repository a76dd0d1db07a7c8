"""The process that forks the engines of one host, seen from the notebook's kernel."""

from __future__ import annotations

import queue
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rankbook._version import __version__
from rankbook.cluster.processes.warm import WarmProcess
from rankbook.errors import EngineError

__all__ = ["REMOTE_MODULE", "Host", "lacking", "refuse_other_version", "seats_to_fill"]

REMOTE_MODULE = "rankbook.engine.starting.remote"


class Host:
    """The process that forks the engines of one host, and its messages.

    Args:
        name: The name by which the host is reached.
        seats: Number of engines that it should have.
        command: The command that runs it.
        env: The command's environment; None: this process's.
    """

    def __init__(
        self, name: str, seats: int, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.seats = seats
        self._command, self._env = list(command), env
        self.process = WarmProcess(command, env)
        self.hello: dict[str, Any] = {}
        self.printed = ""
        """The last line that something else than our process has printed: a login script."""
        self.pongs: queue.Queue[None] = queue.Queue()
        self.engines: set[int] = set()
        """Engines that live, or are being started."""
        self.is_leaving = False
        """Whether something on the host told the process to end."""
        self.has_ended = False
        self.is_unreachable = False
        """Whether it did not answer, and could not be reached again."""

    def answers(self, within: float) -> bool:
        """Whether the process answers, and so its host and the network are up.

        Args:
            within: Seconds to wait for that.
        """
        while not self.pongs.empty():
            self.pongs.get()  # late answers to earlier questions
        try:
            self.process.tell({"ping": True})
            self.pongs.get(timeout=within)
        except (OSError, queue.Empty):
            return False
        self.is_unreachable = False
        return True

    def reached_once_more(self) -> Host:
        """A second process on the host: it introduces itself, and ends."""
        return Host(self.name, 0, [*self._command, "hello"], self._env)


def refuse_other_version(host: Host) -> None:
    """Refuse a host whose rankbook or Python is another version than this process's.

    Raises:
        EngineError: The message names the host and both versions.
    """
    version = host.hello["rankbook"]
    if version != __version__:
        raise EngineError(
            f"{host.name} has rankbook {version} and this notebook has {__version__}: "
            "install one version in both."
        )
    own_python = sys.version_info[:2]
    if host.hello["python"].split(".")[:2] != [str(part) for part in own_python]:
        raise EngineError(
            f"{host.name} has Python {host.hello['python']} and this notebook has "
            f"{own_python[0]}.{own_python[1]}: give the path of such a Python there, --python PATH "
            "(or python=…)."
        )


def seats_to_fill(n: int, room: Sequence[int]) -> list[int]:
    """Share ``n`` new engines among hosts.

    Args:
        n: How many.
        room: By host, how many seats are free; negative if it has more engines than seats.

    Returns:
        How many each host gets: first hosts with free seats, in order, then those with most room.
    """
    counts = [0] * len(room)
    for i, free in enumerate(room):
        counts[i] = max(0, min(free, n - sum(counts)))
    while sum(counts) < n:
        left = [free - count for free, count in zip(room, counts, strict=True)]
        counts[left.index(max(left))] += 1
    return counts


def lacking(errors: Sequence[str]) -> str:
    """The package that a Python lacked which was to serve as an engine; empty: none.

    Args:
        errors: What it wrote to its standard error.
    """
    found = (re.search(r"No module named '?(\w+)", line) for line in errors)
    return next((match[1] for match in found if match), "")
