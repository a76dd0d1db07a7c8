"""The sockets through which gloo connects this rank to others, and how to cut them.

gloo cannot be aborted: a rank that waits for another in gloo's C++ stays there until the group's
timeout. But gloo notices the end of a connection, so ending all connections frees the rank.

The time at which a socket was opened tells whether it is gloo's: torch makes every group, default
or not, in one function, and sockets that are connected while it runs belong to the group. (2.9 to
2.15; the name is private, ``tests/unit/test_private_api.py`` fails if it goes.)
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

from rankbook.distributed import aside, teardown
from rankbook.distributed.connected import wait_until_connected

__all__ = ["GlooSockets", "lacking"]

_MAKE_GROUP = "_new_process_group_helper"

_LAST_SENT, _LAST_RECEIVED, _TCP_INFO_SIZE = 44, 52, 104
"""Offsets in Linux's ``struct tcp_info``: milliseconds since data was sent and received; and the
size of the part that every kernel has."""

_MOST_PEERS = 64
"""How many missing peers are imitated while a group is being made; with more, gloo's own timeout
ends the wait."""

_DESCRIPTORS = "/dev/fd"
"""The open descriptors of this process, on Linux and on macOS."""


class GlooSockets:
    """Notes the sockets of each group that is made from now on; one per process.

    Attributes:
        began: When the making of the latest default group began, by us or by a cell; ns since the
            epoch.
    """

    def __init__(self) -> None:
        self.began = 0
        self._inodes: dict[int, str] = {}
        self._before: set[int] | None = None
        self._make_group: Any = getattr(c10d, _MAKE_GROUP, None)
        if self._make_group is not None:
            setattr(c10d, _MAKE_GROUP, self._watched())

    def cut(self) -> int:
        """End every connection of every group; from any thread.

        Returns:
            How many connections were ended.
        """
        before = self._before
        count = 0
        for inode, found in _sockets():
            with found:
                # While a group is being made, every new socket may be the group's.
                new = before is not None and inode not in before
                if _is_connected(found) and (new or inode in self._inodes):
                    with suppress(OSError):  # it has ended meanwhile
                        found.shutdown(socket.SHUT_RDWR)
                        count += 1
                elif new and _is_listening(found):
                    _stand_in_for_missing_peers(found)
        return count

    def silent_for(self, group: str = "") -> float | None:
        """Seconds since data went over a connection of a group; None if unknown.

        Args:
            group: torch's name of the group. If it is empty or unknown, every group counts.
        """
        known = group in self._inodes.values()
        times = [
            seconds
            for inode, found in _sockets()
            if (seconds := _silent_for(found)) is not None
            and inode in self._inodes
            and (not known or self._inodes[inode] == group)
        ]
        return min(times, default=None)

    def _watched(self) -> Any:
        @functools.wraps(self._make_group)
        def make_group(*args: Any, **kwargs: Any) -> Any:
            is_default = not dist.is_initialized()
            if is_default:
                self.began = time.time_ns()
            self._before, name = _inodes(), ""
            try:
                made = self._make_group(*args, **kwargs)
                if type(made[0]) is dist.ProcessGroup:
                    aside.made(made[0])
                    if is_default:
                        wait_until_connected(*args, **kwargs)
            except BaseException:
                if not dist.is_initialized():
                    teardown.forget_attempt()
                raise
            else:
                name = c10d._world.pg_names.get(made[0], "")
                return made
            finally:
                now = _inodes()
                # The system may give the numbers of closed sockets to others.
                kept = {inode: of for inode, of in self._inodes.items() if inode in now}
                self._inodes = kept | dict.fromkeys(now - self._before, name)
                self._before = None

        return make_group


def lacking() -> tuple[str, ...]:
    """What fails where torch makes groups in another function, in a sentence; else empty."""
    if hasattr(c10d, _MAKE_GROUP):
        return ()
    lack = (
        f"gloo's connections are not known, because torch has no {_MAKE_GROUP}: a rank that hangs "
        "can only be freed by replacing it, which loses its variables."
    )
    return (lack,)


def _inodes() -> set[int]:
    found = set()
    for inode, duplicate in _sockets():
        duplicate.close()
        found.add(inode)
    return found


def _stand_in_for_missing_peers(listener: socket.socket) -> None:
    """End gloo's wait for ranks that died before they connected to this one.

    While gloo makes a group, it numbers the peers that it waits for from 0; a peer that connects
    sends its number, eight bytes. gloo treats connections that do so and end at once as ranks that
    came and died, and raises an error.
    """
    address = listener.getsockname()
    with suppress(OSError):  # gloo has stopped listening
        for number in range(_MOST_PEERS):
            with socket.create_connection(address[:2], timeout=1) as connection:
                connection.sendall(number.to_bytes(8, sys.byteorder))


def _sockets() -> Iterator[tuple[int, socket.socket]]:
    """Duplicates of the TCP sockets of this process; the caller closes them.

    While a duplicate is open, the system does not give the socket's number to another one.
    """
    for path in list(Path(_DESCRIPTORS).iterdir()):
        with suppress(OSError):
            descriptor = os.dup(int(path.name))
            status = os.fstat(descriptor)
            if not stat.S_ISSOCK(status.st_mode):
                os.close(descriptor)
                continue
            duplicate = socket.socket(fileno=descriptor)
            # On some systems the type includes flags.
            is_stream = duplicate.type & 0xF == socket.SOCK_STREAM
            if is_stream and duplicate.family in (socket.AF_INET, socket.AF_INET6):
                yield status.st_ino, duplicate
            else:
                duplicate.close()


def _silent_for(duplicate: socket.socket) -> float | None:
    """Seconds since data went over a connection; None if the system does not tell. Closes it."""
    with duplicate:
        if sys.platform != "linux" or not _is_connected(duplicate):
            return None
        try:
            info = duplicate.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        except OSError:  # it has ended meanwhile
            return None
        ago: list[int] = [
            *struct.unpack_from("=I", info, _LAST_SENT),
            *struct.unpack_from("=I", info, _LAST_RECEIVED),
        ]
        return min(ago) / 1000


def _is_listening(duplicate: socket.socket) -> bool:
    try:
        return bool(duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def _is_connected(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True
