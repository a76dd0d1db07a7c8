"""Connecting to a TCPStore, with the wait in Python.

torch's own client waits in C++, where Ctrl+C does not reach it, and without limit where something
other than a store listens.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from rankbook.distributed.stores import Store, TCPStore, first_line, poll
from rankbook.errors import RendezvousError

__all__ = ["NoStoreError", "connect", "construct"]

_TRY = timedelta(seconds=2)
"""How long torch tries to connect at a time."""

_PATIENCE = 3 * _TRY.total_seconds()
"""How long it may take to end after it was given up."""

_LEAST = 0.05
"""Seconds for which it is looked whether something listens, however little time is left."""


def connect(name: str, port: int, timeout: timedelta, deadline: float) -> Store:
    """Connect to a TCPStore that rank 0, or the launcher, serves or is about to serve.

    Args:
        name: Host name or address.
        port: Where it listens.
        timeout: Timeout of the store's own waits.
        deadline: When to give up, in seconds of ``time.monotonic()``.

    Raises:
        RendezvousError: No TCPStore listens there by the deadline.
    """

    def make(limit: timedelta) -> Store:
        return TCPStore(name, port, is_master=False, wait_for_workers=False, timeout=limit)

    try:
        store = construct(make, name, port, deadline)
    except NoStoreError as error:
        if error.listens:
            raise RendezvousError(
                f"what listens at {name}:{port} is not the store of these ranks ({error});"
                " choose another port"
            ) from error
        raise RendezvousError(
            f"rank 0 did not arrive: no store listens at {name}:{port} ({error});"
            " check that rank 0 runs, and that this host reaches it"
        ) from error
    store.set_timeout(timeout)
    return store


def construct(
    make: Callable[[timedelta], Store],
    name: str,
    port: int,
    deadline: float,
    wait: Callable[[Callable[[], bool], float], object] = poll,
) -> Store:
    """Make torch's client on a thread: against a server of another kind it would block forever.

    Args:
        make: Makes it; is given how long to try.
        name: Host name or address to which it connects.
        port: Port to which it connects.
        deadline: When to give up, in seconds of ``time.monotonic()``.
        wait: Waits until something is ready, or until a deadline.

    Raises:
        NoStoreError: No TCPStore answered there by then.
    """
    connecting = _Connecting(make, name, port, deadline)
    connecting.start()
    try:
        wait(lambda: not connecting.is_alive(), deadline)
    finally:
        connecting.give_up()
    if connecting.mistake is not None:
        raise connecting.mistake
    if connecting.store is None:
        raise NoStoreError(connecting.fault, listens=connecting.listens)
    return connecting.store


class NoStoreError(Exception):
    """No TCPStore answered.

    Attributes:
        listens: Whether something listens there.
    """

    def __init__(self, fault: str, *, listens: bool) -> None:
        super().__init__(fault)
        self.listens = listens


class _Connecting(threading.Thread):
    """Constructs a TCPStore client; ends within seconds when it is given up.

    It is not a daemon: a thread that returns from C++ while Python finalizes aborts the process.

    Attributes:
        store: The client; None while there is none.
        listens: Whether something listens there.
        fault: Why there is none.
        mistake: What another attempt would not mend: wrong arguments.
    """

    def __init__(
        self, make: Callable[[timedelta], Store], name: str, port: int, deadline: float
    ) -> None:
        super().__init__(name="rankbook-connect", daemon=False)
        self.store: Store | None = None
        self.listens = False
        self.fault = "no time left"
        self.mistake: Exception | None = None
        self._make, self._where, self._deadline = make, (name, port), deadline
        self._is_given_up = False
        self._before = _connections(port).keys()

    def run(self) -> None:
        """Try until the deadline, or until it is given up."""
        if poll(lambda: self._is_given_up or self._looks(), self._deadline):
            while not (self.store or self.mistake or self._is_given_up):
                left = self._deadline - time.monotonic()
                if left <= 0:
                    return
                self._try(min(_TRY, timedelta(seconds=left)))

    def _looks(self) -> bool:
        """Whether something listens there."""
        left = max(self._deadline - time.monotonic(), _LEAST)
        try:
            socket.create_connection(self._where, timeout=min(1.0, left)).close()
        except OSError as error:
            self.fault = error.strerror or str(error)
            return False
        self.listens, self.fault = True, "it does not answer as a TCPStore"
        return True

    def _try(self, limit: timedelta) -> None:
        try:
            self.store = self._make(limit)
        except RuntimeError as error:
            self.fault = first_line(error)
        except Exception as error:  # noqa: BLE001 - raised by the waiting thread
            self.mistake = error

    def give_up(self) -> None:
        """Make the thread end; does nothing if it has ended.

        torch waits without limit for the server's first message, but not on a connection that is
        shut down: then it connects again, until its time is over.
        """
        self._is_given_up = True
        if self.is_alive() and self.listens:
            self._cut()
            threading.Thread(target=self._cut_until_it_ends, name=self.name, daemon=True).start()

    def _cut_until_it_ends(self) -> None:
        poll(self._cut, time.monotonic() + _PATIENCE)

    def _cut(self) -> bool:
        """Shut down the connections; return whether the thread has ended."""
        if self.is_alive():
            connections = _connections(self._where[1])
            for inode in connections.keys() - self._before:
                _shut_down(connections[inode])
        return not self.is_alive()


def _connections(port: int) -> dict[int, int]:
    """Descriptors of this process that are connected to a port, by inode; Linux only."""
    found = {}
    with suppress(OSError):  # another system than Linux
        for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
            with suppress(OSError):  # it was closed meanwhile
                status = os.fstat(descriptor)
                if stat.S_ISSOCK(status.st_mode):
                    with socket.socket(fileno=os.dup(descriptor)) as connection:
                        peer = connection.getpeername()
                    if isinstance(peer, tuple) and peer[1] == port:
                        found[status.st_ino] = descriptor
    return found


def _shut_down(descriptor: int) -> None:
    # It may have been closed meanwhile.
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)
