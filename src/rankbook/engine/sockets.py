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
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch.distributed.distributed_c10d as c10d

__all__ = ["GlooSockets"]

_DESCRIPTORS = "/dev/fd"
"""The open descriptors of this process, on Linux and on macOS."""


class GlooSockets:
    """Notes the sockets of each group that is made from now on; one per process."""

    def __init__(self) -> None:
        self._inodes: set[int] = set()
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
        for inode, connection in _connections():
            with connection:
                # While a group is being made, all that is new may be its own.
                if inode in self._inodes or (before is not None and inode not in before):
                    with suppress(OSError):  # it has ended meanwhile
                        connection.shutdown(socket.SHUT_RDWR)
                        count += 1
        return count

    def _watched(self) -> Any:
        @functools.wraps(self._make_group)
        def make_group(*args: Any, **kwargs: Any) -> Any:
            self._before = _inodes()
            try:
                return self._make_group(*args, **kwargs)
            finally:
                now = _inodes()
                # Of sockets that have been closed, the numbers may be given to others.
                self._inodes = (self._inodes & now) | (now - self._before)
                self._before = None

        return make_group


def _inodes() -> set[int]:
    found = set()
    for inode, connection in _connections():
        connection.close()
        found.add(inode)
    return found


def _connections() -> Iterator[tuple[int, socket.socket]]:
    """The TCP connections of this process, each as a socket of its own, to be closed by the caller.

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
            connection = socket.socket(fileno=descriptor)
            if connection.family in (socket.AF_INET, socket.AF_INET6) and _is_connected(connection):
                yield status.st_ino, connection
            else:
                connection.close()


def _is_connected(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True
