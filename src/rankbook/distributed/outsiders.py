"""Processes that a rank has started, at a place where the ranks of the session could meet as well.

A group of as many as there are ranks, at a loopback address or in a file, may be theirs, or one
that a rank makes with its own processes. Ranks meet in their session's store, and use neither the
port nor the file. So a rank that has started processes looks there while it waits for the others.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rankbook.distributed import stores
from rankbook.distributed.listening import listen

__all__ = [
    "LOOKS_EVERY",
    "Door",
    "FileDoor",
    "KnockError",
    "PortDoor",
    "has_children",
    "is_served_by_child",
]

LOOKS_EVERY = 0.3
"""Seconds: to list processes takes milliseconds."""

has_children: list[Callable[[], bool]] = []
"""Tells whether code has started processes here that may come; an engine adds it."""

is_served_by_child: list[Callable[[int], bool]] = []
"""Tells whether one of them listens at a port; an engine adds it."""


class KnockError(Exception):
    """A process that is no rank has come to where a rank waits for the others."""


class Door:
    """Where processes that this rank has started would come."""

    def __init__(self) -> None:
        self._next = 0.0

    def look(self) -> None:
        """Look, now and then.

        Raises:
            KnockError: One of them is there.
        """
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LOOKS_EVERY
            if self.is_knocked():
                raise KnockError

    def is_knocked(self) -> bool:
        """Whether one of them is there."""
        raise NotImplementedError

    def close(self) -> None:
        """Wait for them no longer."""


class PortDoor(Door):
    """A port.

    Attributes:
        guest: A socket to which one of them has connected, where this rank serves; else None.
    """

    def __init__(self, host: str, port: int, *, serves: bool) -> None:
        """Open nothing yet.

        Args:
            host: One of this host's own names.
            port: The port.
            serves: Whether the others connect to this rank, or it to them.
        """
        super().__init__()
        self._where = host, port
        self._serves = serves
        self._listener: socket.socket | None = None
        self.guest: socket.socket | None = None

    def is_knocked(self) -> bool:
        """Whether one has connected, or serves the store itself."""
        if not self._serves:
            return any(serves(self._where[1]) for serves in is_served_by_child)
        if self._listener is None and any(are_there() for are_there in has_children):
            with suppress(OSError):  # if it is in use, nobody can come here
                self._listener = listen(stores.resolve(self._where[0]), self._where[1])
        if self._listener is None or not select.select([self._listener], [], [], 0)[0]:
            return False
        self.guest, self._listener = self._listener, None
        return True

    def close(self) -> None:
        """Release the port."""
        if self._listener is not None:
            self._listener.close()


class FileDoor(Door):
    """A file."""

    def __init__(self, path: str) -> None:
        """Note how long it is, as earlier groups may have left something in it."""
        super().__init__()
        self._path = Path(path)
        self._length = self._size()

    def _size(self) -> int:
        with suppress(OSError):  # there is no file yet
            return self._path.stat().st_size
        return 0

    def is_knocked(self) -> bool:
        """Whether something was written into it: ranks write nothing there."""
        return self._size() > self._length and any(are_there() for are_there in has_children)
