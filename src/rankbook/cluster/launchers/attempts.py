"""Attempts of a program to connect that get no answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

import psutil

__all__ = ["Attempts", "children_of", "end_all", "name_of"]

_PAUSE = 0.5
"""Seconds between two looks: each reads all of /proc."""


class Attempts:
    """Watches the connection attempts of a process of this host and its children.

    A program such as ``mpiexec`` may wait silently for minutes for a host that is off.

    Args:
        pid: The process id.
        patience: Seconds within which an existing host answers, or the system reports that there is
            no route.
    """

    def __init__(self, pid: int, patience: float = 3.5) -> None:
        self._pid = pid
        self._patience = patience
        self._since: dict[tuple[int, int, str, int], float] = {}
        self._next = 0.0

    def unanswered(self) -> tuple[str, int] | None:
        """An address and port without an answer for that long; None if there is none."""
        now = time.monotonic()
        if now < self._next:
            return None
        self._next = now + _PAUSE
        open_now = {each for process in children_of(self._pid) for each in _attempts(process)}
        self._since = {attempt: self._since.get(attempt, now) for attempt in open_now}
        late = (each for each, since in self._since.items() if now - since >= self._patience)
        return next(((ip, port) for _, _, ip, port in late), None)


def name_of(address: str, names: Iterable[str]) -> str:
    """The name that has an address; the address itself if none has."""
    for name in names:
        try:
            found = socket.getaddrinfo(name.rpartition("@")[2], None)
        except OSError:  # an alias that only ssh knows
            continue
        if any(each[4][0] == address for each in found):
            return name
    return address


def children_of(pid: int) -> list[psutil.Process]:
    """A process's descendants; none if it has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def end_all(processes: Iterable[psutil.Process], timeout: float = 1.0) -> None:
    """Kill processes that do not end by themselves within some seconds."""
    until = time.monotonic() + timeout
    while (left := [each for each in processes if _runs(each)]) and time.monotonic() < until:
        time.sleep(0.01)
    for process in left:
        with suppress(psutil.NoSuchProcess):  # it has ended
            process.kill()


def _runs(process: psutil.Process) -> bool:
    """Whether it still runs; an ended orphan may stay as a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _attempts(process: psutil.Process) -> Iterator[tuple[int, int, str, int]]:
    """Pending connections, by process, own port, address and port."""
    try:
        found = process.net_connections("inet")
    except psutil.Error:  # it has ended
        return
    for each in found:
        if each.status == psutil.CONN_SYN_SENT and each.raddr:
            yield process.pid, each.laddr.port, each.raddr.ip, each.raddr.port
