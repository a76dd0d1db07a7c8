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
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from rankbook.distributed.stores import Store, TCPStore, first_line, poll
from rankbook.errors import RendezvousError

__all__ = ["connect"]

_TRY = timedelta(seconds=2)
"""How long torch tries to connect at a time."""


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
    fault = "no time left"

    def listening() -> bool:
        nonlocal fault
        try:
            left = deadline - time.monotonic()
            socket.create_connection((name, port), timeout=min(1.0, max(left, 0.05))).close()
        except OSError as error:
            fault = error.strerror or str(error)
            return False
        return True

    if not poll(listening, deadline):
        raise RendezvousError(
            f"rank 0 did not arrive: no store listens at {name}:{port} ({fault});"
            " check that rank 0 runs, and that this host reaches it"
        )
    return _construct_client(name, port, timeout, deadline)


def _construct_client(name: str, port: int, timeout: timedelta, deadline: float) -> Store:
    """Make torch's client on a thread: against a server of another kind it would block forever."""
    connecting = _Connecting(name, port, deadline)
    connecting.start()
    try:
        poll(lambda: not connecting.is_alive(), deadline)
    finally:
        connecting.give_up()
    if connecting.store is None:
        raise RendezvousError(
            f"what listens at {name}:{port} is not the store of these ranks ({connecting.fault});"
            " choose another port"
        )
    connecting.store.set_timeout(timeout)
    return connecting.store


class _Connecting(threading.Thread):
    """Constructs a TCPStore client; ends within seconds when it is given up.

    It is not a daemon: a thread that returns from C++ while Python finalizes aborts the process.

    Attributes:
        store: The client; None while there is none.
        fault: Why there is none.
    """

    def __init__(self, name: str, port: int, deadline: float) -> None:
        super().__init__(name="rankbook-connect", daemon=False)
        self.store: Store | None = None
        self.fault = "it does not answer as a TCPStore"
        self._name, self._port, self._deadline = name, port, deadline
        self._is_given_up = False
        self._before = _connections(port).keys()

    def run(self) -> None:
        """Try until the deadline, or until it is given up."""
        while not (self.store or self._is_given_up or time.monotonic() > self._deadline):
            self._try()

    def _try(self) -> None:
        try:
            self.store = TCPStore(
                self._name, self._port, is_master=False, wait_for_workers=False, timeout=_TRY
            )
        except Exception as error:  # noqa: BLE001 - reported by the waiting thread
            self.fault = first_line(error)

    def give_up(self) -> None:
        """Make the thread end; does nothing if it has ended.

        torch waits without limit for the server's first message, but not on a connection that is
        shut down.
        """
        self._is_given_up = True
        if self.is_alive():
            connections = _connections(self._port)
            for inode in connections.keys() - self._before:
                _shut_down(connections[inode])


def _connections(port: int) -> dict[int, int]:
    """Descriptors of this process that are connected to a port, by inode; Linux only."""
    found = {}
    with suppress(OSError):
        for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
            with suppress(OSError):
                status = os.fstat(descriptor)
                if stat.S_ISSOCK(status.st_mode):
                    with socket.socket(fileno=os.dup(descriptor)) as connection:
                        peer = connection.getpeername()
                    if isinstance(peer, tuple) and peer[1] == port:
                        found[status.st_ino] = descriptor
    return found


def _shut_down(descriptor: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)
