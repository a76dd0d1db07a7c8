"""The sockets through which gloo connects this rank to others, and how to cut them.

Gloo cannot be aborted: a rank that waits for another inside its C++ stays there until the group's
timeout. It does notice that a connection has ended, so ending all of them frees it.

Which sockets are gloo's is known from when they were made: torch makes every group, default or not,
in one function, and what is connected while that runs is the group's own. (2.8 to 2.13; the name is
private, ``tests/unit/test_private_api.py`` says so if it goes.)
"""

from __future__ import annotations

import functools
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d

from rankbook.distributed import teardown

__all__ = ["GlooSockets"]

_LAST_SENT, _LAST_RECEIVED, _TCP_INFO_SIZE = 44, 52, 104
"""Where Linux says in ``struct tcp_info`` how long ago, in ms, data went out and came in; and the
part of it that every kernel has."""

_MOST_PEERS = 64
"""Peers for which it is answered while a group is being made; beyond them gloo's own timeout ends
the wait."""

_DESCRIPTORS = "/dev/fd"
"""The open descriptors of this process, on Linux and on macOS."""


class GlooSockets:
    """Notes the sockets of each group that is made from now on; one per process.

    Attributes:
        began: When the latest default group began to be made, whoever made it; ns since the epoch.
    """

    def __init__(self) -> None:
        self.began = 0
        self._inodes: dict[int, str] = {}
        self._before: set[int] | None = None
        self._make_group = c10d._new_process_group_helper
        c10d._new_process_group_helper = self._watched()

    def cut(self) -> int:
        """End every connection of every group; from any thread.

        Returns:
            How many there were.
        """
        before = self._before
        count = 0
        for inode, its in _sockets():
            with its:
                # While a group is being made, all that is new may be its own.
                new = before is not None and inode not in before
                if _is_connected(its) and (new or inode in self._inodes):
                    with suppress(OSError):  # it has ended meanwhile
                        its.shutdown(socket.SHUT_RDWR)
                        count += 1
                elif new and _is_listening(its):
                    _answer_for_those_who_do_not_come(its)
        return count

    def silent_for(self, group: str = "") -> float | None:
        """Seconds since data went over a connection of a group; None where that is not known.

        Args:
            group: torch's name of it; of one that is not known, and without one, of any group.
        """
        known = group in self._inodes.values()
        times = [
            seconds
            for inode, its in _sockets()
            if (seconds := _silent_for(its)) is not None
            and inode in self._inodes
            and (not known or self._inodes[inode] == group)
        ]
        return min(times, default=None)

    def _watched(self) -> Any:
        @functools.wraps(self._make_group)
        def make_group(*args: Any, **kwargs: Any) -> Any:
            if not dist.is_initialized():
                self.began = time.time_ns()
            self._before, name = _inodes(), ""
            try:
                made = self._make_group(*args, **kwargs)
            except BaseException:
                if not dist.is_initialized():
                    teardown.forget_attempt()
                raise
            else:
                name = c10d._world.pg_names.get(made[0], "")
                return made
            finally:
                now = _inodes()
                # Of sockets that have been closed, the numbers may be given to others.
                kept = {inode: its for inode, its in self._inodes.items() if inode in now}
                self._inodes = kept | dict.fromkeys(now - self._before, name)
                self._before = None

        return make_group


def _inodes() -> set[int]:
    found = set()
    for inode, its in _sockets():
        its.close()
        found.add(inode)
    return found


def _answer_for_those_who_do_not_come(listener: socket.socket) -> None:
    """End gloo's wait for ranks that were to connect to this one, and have died before.

    While it makes a group, gloo numbers those it waits for from 0; who connects says, in eight
    bytes, which of them it is. Connections that say so and end at once are what it takes for ranks
    that came and died, and of those it has an error to raise.
    """
    address = listener.getsockname()
    with suppress(OSError):  # it listens no longer
        for number in range(_MOST_PEERS):
            with socket.create_connection(address[:2], timeout=1) as connection:
                connection.sendall(number.to_bytes(8, sys.byteorder))


def _sockets() -> Iterator[tuple[int, socket.socket]]:
    """The TCP sockets of this process, each as a socket of its own, to be closed by the caller.

    A duplicate keeps what it stands for from being closed, and its number from being given to
    something else, between the look and the cut.
    """
    for path in list(Path(_DESCRIPTORS).iterdir()):
        with suppress(OSError):
            descriptor = os.dup(int(path.name))
            status = os.fstat(descriptor)
            if not stat.S_ISSOCK(status.st_mode):
                os.close(descriptor)
                continue
            its = socket.socket(fileno=descriptor)
            # On some systems the type has flags in it.
            is_stream = its.type & 0xF == socket.SOCK_STREAM
            if is_stream and its.family in (socket.AF_INET, socket.AF_INET6):
                yield status.st_ino, its
            else:
                its.close()


def _silent_for(its: socket.socket) -> float | None:
    """Seconds since data went over a connection, which is closed here; None if nobody says."""
    with its:
        if sys.platform != "linux" or not _is_connected(its):
            return None
        try:
            info = its.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        except OSError:  # it has ended meanwhile
            return None
        ago: list[int] = [
            *struct.unpack_from("=I", info, _LAST_SENT),
            *struct.unpack_from("=I", info, _LAST_RECEIVED),
        ]
        return min(ago) / 1000


def _is_listening(its: socket.socket) -> bool:
    try:
        return bool(its.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def _is_connected(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True
